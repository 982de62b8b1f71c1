"""The code of our catalogue for a number that Mbed TLS or a socket under it gave in OSError.args[0]."""

CONN_EOF = -0x7280
CLOSE_NOTIFY = -0x7880
X509_CRITICAL = -0x2562  # a critical extension that it does not know, also one with a wrong tag

# Socket errors, by the numbers of lwIP, newlib, Linux and macOS. MicroPython turns low-level numbers of Mbed TLS into
# positive ones, too, so that 16 and 106 are "out of memory" of its big numbers and of its ASN.1.
_ERRNO = (
    ("TLS_MEMORY", b"\x0c\x10\x6a"),  # ENOMEM; -0x10, -0x6A
    ("NET_CLOSED", b"\x20\x36\x67\x68\x6b\x71\x80"),  # EPIPE, ECONNRESET, ECONNABORTED (113 on esp32), ENOTCONN
    ("NET_TIMEOUT", b"\x3c\x6e\x74"),  # ETIMEDOUT
    ("TCP", b"\x05\x41\x64\x65\x72\x76"),  # EIO, ENETDOWN, ENETUNREACH, EHOSTUNREACH
)
# High-level numbers of Mbed TLS are multiples of 0x80: one byte each, the number shifted by 7.
_HIGH = (
    ("TLS_MEMORY", b"\x23\x51\x68\x7f\x9b\xa3\xaf\xc3\xfe"),  # *_ALLOC_FAILED
    ("NET_CLOSED", b"\xe5\xf1"),  # CONN_EOF, PEER_CLOSE_NOTIFY
    ("TLS_REFUSED", b"\xef"),  # FATAL_ALERT_MESSAGE
    ("TLS_NOT_TLS", b"\xe2\xe4\xee"),  # BAD_INPUT_DATA, INVALID_RECORD, UNEXPECTED_MESSAGE
    # VERSION_MISMATCH, ILLEGAL_PARAMETER, PK_TYPE_MISMATCH, HANDSHAKE_FAILURE, BAD_PROTOCOL_VERSION,
    # FEATURE_UNAVAILABLE, UNSUPPORTED_EXTENSION, NO_APPLICATION_PROTOCOL
    ("TLS_VERSION", b"\xbe\xcc\xda\xdc\xdd\xe1\xea\xeb"),
    ("TLS_NO_ROOTS", b"\xed"),  # CA_CHAIN_REQUIRED
    ("TLS_TIMEOUT", b"\xd0"),  # SSL_TIMEOUT
    ("CERT_NAME", b"\xbb\xf0"),  # CERTIFICATE_VERIFICATION_WITHOUT_HOSTNAME, UNRECOGNIZED_NAME
    ("CERT_UNKNOWN_CA", b"\x4e"),  # CERT_VERIFY_FAILED
    ("CERT_WEAK_SIGNATURE", b"\x41\x4c"),  # X509_FEATURE_UNAVAILABLE, UNKNOWN_SIG_ALG
    ("CERT_WEAK_KEY", b"\x73\x74\x79\x9d"),  # PK_FEATURE_UNAVAILABLE, UNKNOWN_NAMED_CURVE, UNKNOWN_PK_ALG, ECP_…
    # X509_FATAL_ERROR, PK_INVALID_ALG, PK_INVALID_PUBKEY, PK_KEY_INVALID_FORMAT (the server's key: a bad one of our own
    # is a ValueError when it is loaded), BAD_CERTIFICATE
    ("CERT_MALFORMED", b"\x60\x75\x76\x7a\xf4"),
    ("TLS_IDENTITY", b"\xd9\xe9\xec"),  # UNKNOWN_IDENTITY, NO_CLIENT_CERTIFICATE, PRIVATE_KEY_REQUIRED
)


def split(number):
    """The (high-level, low-level) parts of an Mbed TLS number, both positive, 0 where there is none."""
    n = abs(number)
    return n & 0xFF80, n & 0x7F


def catalogue_code(number):
    """The code of catalogue.CATALOGUE for a number.

    Args: number: OSError.args[0]: negative from Mbed TLS, positive an errno (or a low-level number of Mbed TLS).
    Returns TLS_REFUSED for any alert, NET_CLOSED for any end of the connection: the caller knows in what state it came.
    """
    if -256 < number < 256:
        return _look_up(_ERRNO, abs(number)) or "TLS_FAILED"
    if not -0x8000 < number < 0:
        return "TLS_FAILED"
    if number == X509_CRITICAL:
        return "CERT_EXTENSION"
    high, low = split(number)
    if low in (0x10, 0x6A):
        return "TLS_MEMORY"
    key = high >> 7
    code = _look_up(_HIGH, key)
    if code:
        return code
    if 0x41 <= key <= 0x53:  # X509_*
        return "CERT_MALFORMED"
    # PEM_*, PKCS12_*, PKCS5_*, PK_*: what reads a private key
    if 0x21 <= key <= 0x29 or 0x3C <= key <= 0x3F or 0x5C <= key <= 0x5F or 0x71 <= key <= 0x7D:
        return "TLS_IDENTITY"
    return "TLS_FAILED"


def _look_up(table, key):
    for code, keys in table:
        if key in keys:
            return code
    return None
