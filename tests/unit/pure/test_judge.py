"""judge and x509: whole chains as Mbed TLS hands them over, and extensions that are not what they should be."""

import hashlib

from rootlet import x509
from rootlet.errors import RootletError
from rootlet.judge import Judge
from rootlet.trust import Trust, pin_bytes, pin_text

NOW = 1795239001
CURVE = b"\x2a\x86\x48\xce\x3d\x02\x01", b"\x2a\x86\x48\xce\x3d\x03\x01\x07"
BASIC, USAGE, SAN, CONSTRAINTS = 0x13, 0x0F, 0x11, 0x1E


def tlv(tag, *values):
    value = b"".join(values)
    size = len(value)
    if size < 128:
        return bytes((tag, size)) + value
    return bytes((tag, 0x81, size) if size < 256 else (tag, 0x82, size >> 8, size & 0xFF)) + value


def name(text):
    return tlv(0x30, tlv(0x31, tlv(0x30, tlv(0x06, b"\x55\x04\x03"), tlv(0x0C, text.encode()))))


def spki(number):
    point = tlv(0x03, b"\0\x04", bytes((number,)) * 64)
    return tlv(0x30, tlv(0x30, *[tlv(0x06, oid) for oid in CURVE]), point)


def extension(number, value, critical=False):
    return tlv(0x30, tlv(0x06, bytes((0x55, 0x1D, number))), b"\x01\x01\xff" if critical else b"", tlv(0x04, value))


def ca(path_len=None):
    return extension(BASIC, tlv(0x30, b"\x01\x01\xff", b"" if path_len is None else bytes((2, 1, path_len))), True)


def made(subject, issuer, number, *extensions):
    """A certificate whose signature is nothing: Mbed TLS looks at it, the judge does not."""
    algorithm = tlv(0x30, tlv(0x06, b"\x2a\x86\x48\xce\x3d\x04\x03\x02"))
    tbs = tlv(
        0x30,
        b"\xa0\x03\x02\x01\x02\x02\x01\x07",
        algorithm,
        name(issuer),
        tlv(0x30, tlv(0x17, b"260101000000Z"), tlv(0x17, b"270101000000Z")),
        name(subject),
        spki(number),
        tlv(0xA3, tlv(0x30, *extensions)) if extensions else b"",
    )
    return tlv(0x30, tbs, algorithm, tlv(0x03, b"\0sig"))


def server(issuer, *extensions):
    names = extension(SAN, tlv(0x30, tlv(0x82, b"broker.example")))
    return made("leaf", issuer, 9, names, *extensions)


ROOT = made("root", "root", 1, ca())
MIDDLE = made("middle", "root", 2, ca())
LEAF = server("middle")


def judged(chain, pins=(), host="broker.example"):
    """(code of the refusal or None, its fact) of a chain, root first."""
    judge = Judge(host, Trust([chain[0]], None, pins=pins), NOW)
    for i, der in enumerate(chain):
        if judge(memoryview(der), len(chain) - 1 - i):
            assert not judge.leaf_seen
            assert judge(memoryview(chain[-1]), 0), "after a refusal nothing is accepted"
            return judge.fault.code, judge.fault.fact
    assert judge.leaf_seen
    return None, ""


def malformed(der):
    try:
        x509.parse(der)
    except x509.Malformed as e:
        return str(e)
    return None


def pin(number):
    return hashlib.sha256(spki(number)).digest()


def test_a_sound_chain():
    assert judged([ROOT, MIDDLE, LEAF]) == (None, "")
    assert judged([ROOT, server("root")]) == (None, "")
    assert judged([ROOT, MIDDLE, LEAF], host="other.example")[0] == "CERT_NAME"


def test_where_the_key_is():
    start, end = x509.parse(LEAF).spki
    assert LEAF[start:end] == spki(9)


def test_any_certificate_of_the_chain_may_have_the_pinned_key():
    for number in (1, 2, 9):
        assert judged([ROOT, MIDDLE, LEAF], (pin(number),)) == (None, ""), number
    assert judged([ROOT, MIDDLE, LEAF], (pin(5), pin(9))) == (None, "")
    code, fact = judged([ROOT, MIDDLE, LEAF], (pin(5), pin(6)))
    assert code == "CERT_PIN"
    assert fact == "the server's is " + pin_text(pin(9))


def test_a_pin_does_not_make_up_for_anything():
    assert judged([ROOT, MIDDLE, LEAF], (pin(9),), "other.example")[0] == "CERT_NAME"
    assert judged([ROOT, made("middle", "root", 2), LEAF], (pin(9),))[0] == "CERT_USAGE"


def test_pins_as_text():
    text = pin_text(bytes(range(32)))
    assert text == "sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="
    assert pin_bytes(text) == bytes(range(32))
    for bad in (
        "",
        "sha256//",
        text[8:],
        text[:-1],
        text + "=",
        text + "\n",
        text.replace("8=", "9="),
        "SHA256" + text[6:],
    ):
        assert pin_bytes(bad) is None, bad
    trust = Trust([ROOT], None, floor=7).with_pins([text]).with_identity("c", "k")
    assert (trust.pins, trust.cert, trust.floor) == ((bytes(range(32)),), "c", 7)
    assert trust.with_pins(None).pins == ()
    assert trust.with_pins(None).cert == "c"
    try:
        trust.with_pins([text, "sha256//x"])
    except RootletError as e:
        assert e.code == "CONFIG"
    else:
        raise AssertionError("accepted")


def test_path_length():
    def chain(root_len, middle_len, between=1):
        cas = [made("root", "root", 1, ca(root_len))]
        for i in range(between):
            cas.append(made("ca %d" % (i + 1), "root" if i == 0 else "ca %d" % i, 2, ca(middle_len)))
        return judged(cas + [server("ca %d" % between)])[0]

    assert chain(1, None) is None
    assert chain(1, 0) is None
    assert chain(0, None) == "CERT_CHAIN"
    assert chain(1, None, 2) == "CERT_CHAIN"
    assert chain(5, 0, 2) == "CERT_CHAIN"
    assert chain(2, None, 2) is None
    assert chain(None, None, 6) is None
    assert chain(None, None, 7) == "CERT_CHAIN"


def test_extensions_not_understood():
    unknown = extension(0x63, b"\x05\0", True)
    for chain in (
        [made("root", "root", 1, ca(), unknown), server("root")],
        [ROOT, made("middle", "root", 2, ca(), unknown), LEAF],
        [ROOT, server("root", unknown)],
    ):
        code, fact = judged(chain)
        assert code == "CERT_EXTENSION"
        assert "2.5.29.99" in fact
    assert judged([ROOT, server("root", extension(0x63, b"\x05\0"))])[0] is None
    limited = made("middle", "root", 2, ca(), extension(CONSTRAINTS, b"\x30\0"))
    assert judged([ROOT, limited, LEAF])[0] == "CERT_EXTENSION"


def test_malformed_extensions():
    for extensions, why in (
        ((ca(), ca()), "twice"),
        ((extension(0x63, b""), extension(0x63, b"")), "twice"),
        ((extension(BASIC, b"\x30\0\0"),), "trailing"),
        ((extension(BASIC, b"\x30\x06\x01\x01\xff\x02\x01\x80"),), "path length"),
        ((extension(BASIC, b"\x30\x09\x01\x01\xff\x02\x04\x01\0\0\0"),), "path length"),
        ((extension(BASIC, b"\x30\x03\x01\x01\x07"),), "truth"),
        ((extension(USAGE, b"\x03\x02\x05\xa0\0"),), "trailing"),
        ((extension(SAN, b"\x30\0\0"),), "trailing"),
        ([extension(i, b"") for i in range(0x40, 0x69)], "too many"),
    ):
        found = malformed(made("x", "x", 1, *extensions))
        assert found and why in found, (why, found)
    assert x509.parse(made("x", "x", 1, extension(BASIC, b"\x30\x07\x01\x01\xff\x02\x02\x01\0"))).path_len == 256


def test_numbers_of_extensions_as_people_write_them():
    assert x509.dotted(b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b") == "1.2.840.113549.1.1.11"
    assert x509.dotted(b"\x55\x1d\x13") == "2.5.29.19"
    assert x509.dotted(b"\x88\x37\x03") == "2.999.3"
    assert x509.dotted(b"") == ""


def test_whatever_comes_the_judge_does_not_raise():
    class Odd:
        def __len__(self):
            raise RuntimeError("the stack is full")

    for der in (b"", b"\x30", LEAF[:-1], LEAF + b"\0", bytes(40), Odd()):
        judge = Judge("broker.example", Trust([ROOT], None), NOW)
        assert judge(der, 0)
        assert judge.fault.code in ("CERT_MALFORMED", "TLS_FAILED")
        assert not judge.leaf_seen
