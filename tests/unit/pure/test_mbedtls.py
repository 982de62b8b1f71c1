"""mbedtls: every number that MicroPython can raise leads to a code of the catalogue."""

from rootlet.catalogue import CATALOGUE
from rootlet.mbedtls import CLOSE_NOTIFY, CONN_EOF, catalogue_code, split


def test_a_number_is_split_in_two():
    assert split(-0x262E) == (0x2600, 0x2E)
    assert split(-0x7F00) == (0x7F00, 0)
    assert split(-0x10) == (0, 0x10)
    assert split(0x7780) == (0x7780, 0)


def test_every_number_has_a_code():
    seen = set()
    for number in range(-0x8100, 300):
        seen.add(catalogue_code(number))
    assert not seen - set(CATALOGUE)
    assert len(seen) > 12


def test_memory():
    for number in (12, 16, 106, -0x7F00, -0x2880, -0x3F80, -0x4D80, -0x5180, -0x6180, -0x1180, -0x3400):
        assert catalogue_code(number) == "TLS_MEMORY", number
    # What ran out is told by the low half, what it was needed for by the high half.
    for number in (-0x4290, -0x2510, -0x23EA, -0x4390):
        assert catalogue_code(number) == "TLS_MEMORY", number
    assert catalogue_code(-0x4D00) == "TLS_FAILED"


def test_the_connection():
    for number in (CONN_EOF, CLOSE_NOTIFY, 32, 54, 103, 104, 107, 113, 128):
        assert catalogue_code(number) == "NET_CLOSED", number
    for number in (110, 116, 60):
        assert catalogue_code(number) == "NET_TIMEOUT", number
    for number in (118, 65, 101, 114):
        assert catalogue_code(number) == "TCP", number
    assert catalogue_code(-0x7780) == "TLS_REFUSED"


def test_the_handshake():
    for number in (-0x7200, -0x7100, -0x7700):
        assert catalogue_code(number) == "TLS_NOT_TLS", number
    for number in (-0x6E80, -0x6E00, -0x7080):
        assert catalogue_code(number) == "TLS_VERSION", number
    assert catalogue_code(-0x7680) == "TLS_NO_ROOTS"
    assert catalogue_code(-0x6800) == "TLS_TIMEOUT"
    assert catalogue_code(-0x7600) == "TLS_IDENTITY"
    assert catalogue_code(-0x7180) == "TLS_FAILED"


def test_certificates():
    assert catalogue_code(-0x2700) == "CERT_UNKNOWN_CA"
    assert catalogue_code(-0x262E) == "CERT_WEAK_SIGNATURE"
    assert catalogue_code(-0x2562) == "CERT_EXTENSION"
    assert catalogue_code(-0x3C80) == "CERT_WEAK_KEY"
    assert catalogue_code(-0x3A2E) == "CERT_WEAK_KEY"
    for number in (-0x2180, -0x21E2, -0x2566, -0x2980, -0x3000, -0x7A00, -0x3D62):
        assert catalogue_code(number) == "CERT_MALFORMED", number
    for number in (-0x3D80, -0x1080, -0x2E00, -0x1F80):
        assert catalogue_code(number) == "TLS_IDENTITY", number


def test_what_nobody_has_a_word_for():
    for number in (0, 1, 255, -0x5300, -0x6C00, -0x7FFF, -0x8000, 28673):
        assert catalogue_code(number) == "TLS_FAILED", number
