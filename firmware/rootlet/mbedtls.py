"""Mbed TLS error numbers, as MicroPython puts them in OSError.args[0] (include/mbedtls/ssl.h, x509.h)."""

FATAL_ALERT = -0x7780
CONN_EOF = -0x7280
CLOSE_NOTIFY = -0x7880
NOT_TLS = (-0x7200, -0x7100, -0x7700)  # invalid record, bad input, unexpected message
VERSION = (-0x6E80, -0x6E00)  # bad protocol version, no common suite
X509_FATAL = -0x3000
X509_CRITICAL = -0x2562  # a critical extension that it does not know, also one with a wrong tag
X509_RANGE = (-0x2F80, -0x2000)
ENOMEM = 12
ALLOC_FAILED = (ENOMEM, -0x7F00, -0x2880, -0x3F80, -0x6A, -0x10, -0x4D00)
# EPIPE, ECONNRESET, ECONNABORTED by their various numbers, and the end of the stream in Mbed TLS's own.
CLOSED = (CONN_EOF, CLOSE_NOTIFY, 32, 54, 103, 104, 128)
