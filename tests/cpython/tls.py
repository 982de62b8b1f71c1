"""MicroPython's `tls` module on CPython, over OpenSSL: the calls, the order of verification and the errors alike.

One difference: the verify callback runs when OpenSSL has finished its handshake, before any application data
is sent, not in the middle of it. TLS 1.2 only, as on a board.
"""

import socket

from cryptography.hazmat.primitives.serialization import load_der_private_key
from cryptography.x509 import load_der_x509_certificate
from OpenSSL import SSL

PROTOCOL_TLS_CLIENT = 0
CERT_NONE, CERT_OPTIONAL, CERT_REQUIRED = 0, 1, 2
MBEDTLS_VERSION = "OpenSSL in its place"

_CONN_EOF, _FATAL_ALERT, _INVALID_RECORD, _OTHER = -0x7280, -0x7780, -0x7200, -0x6C00
_BAD_VERSION = -0x6E80
_DATES = (9, 10)  # X509_V_ERR_CERT_NOT_YET_VALID, X509_V_ERR_CERT_HAS_EXPIRED
_UNTRUSTED = (2, 7, 18, 19, 20, 21)


class SSLContext:
    def __init__(self, protocol):
        self._context = SSL.Context(SSL.TLS_CLIENT_METHOD)
        self._context.set_min_proto_version(SSL.TLS1_2_VERSION)
        self._context.set_max_proto_version(SSL.TLS1_2_VERSION)
        self.verify_mode = CERT_REQUIRED
        self.verify_callback = None

    def set_ciphers(self, names):
        """Take the list as it is: what is offered is OpenSSL's own; tests of suites run on MicroPython."""

    def load_verify_locations(self, cadata):
        self._context.get_cert_store().add_cert(_certificate(cadata))

    def load_cert_chain(self, cert, key):
        try:
            self._context.use_certificate(_certificate(cert))
            self._context.use_privatekey(load_der_private_key(key, None))
        except (SSL.Error, ValueError):
            raise ValueError("invalid key") from None

    def wrap_socket(self, raw, server_hostname=None, do_handshake_on_connect=True):
        return _Socket(self, raw.raw, server_hostname)  # OpenSSL wants the socket itself, not its guard


def _certificate(der):
    from OpenSSL.crypto import X509

    return X509.from_cryptography(load_der_x509_certificate(bytes(der)))


class _Socket:
    def __init__(self, owner, raw, name):
        self._raw = raw
        self._owner = owner
        self._seen = {}
        self._errors = set()
        owner._context.set_verify(SSL.VERIFY_PEER, self._note)
        self._conn = SSL.Connection(owner._context, raw)
        self._conn.set_tlsext_host_name(name.encode())
        self._conn.set_connect_state()
        self._shaken = False

    def _note(self, _conn, cert, error, depth, ok):
        self._seen[depth] = cert
        if not ok:
            self._errors.add(error)
        return True  # judged as a whole by _verify, before anything is sent

    def _verify(self):
        from cryptography.hazmat.primitives.serialization import Encoding

        for depth in sorted(self._seen, reverse=True):
            der = self._seen[depth].to_cryptography().public_bytes(Encoding.DER)
            if self._owner.verify_callback(memoryview(der), depth):
                raise OSError(1)
        if self._errors & set(_UNTRUSTED):
            raise ValueError("The certificate is not correctly signed by the trusted CA\n")
        if self._errors & set(_DATES):
            raise ValueError("The certificate validity has expired\n")

    def _judge_before_the_end(self):
        """The server's certificate came before it ended the handshake: Mbed TLS has judged it by then."""
        if self._seen and not self._shaken:
            self._verify()

    def _call(self, function, *args):
        try:
            if not self._shaken:
                self._conn.do_handshake()
                self._verify()
                self._shaken = True
            return function(*args)
        except (SSL.WantReadError, SSL.WantWriteError):
            return None
        except SSL.ZeroReturnError:
            return 0
        except SSL.SysCallError as e:
            self._judge_before_the_end()
            raise OSError(e.args[0] if e.args[0] > 0 else _CONN_EOF) from None
        except SSL.Error as e:
            text = " ".join(str(row[-1]) for row in e.args[0])
            if "alert" in text:
                self._judge_before_the_end()
                raise OSError(_FATAL_ALERT) from None
            if "wrong version number" in text or "http request" in text or "packet length" in text:
                raise OSError(_INVALID_RECORD) from None
            if "unsupported protocol" in text:
                raise OSError(_BAD_VERSION) from None
            if "unexpected eof" in text:
                self._judge_before_the_end()
                raise OSError(_CONN_EOF) from None
            raise OSError(_OTHER, text) from None

    def write(self, data):
        return self._call(self._conn.send, bytes(data))

    def readinto(self, buf):
        return self._call(self._conn.recv_into, buf)

    def cipher(self):
        return self._conn.get_cipher_name(), self._conn.get_protocol_version_name()

    def fileno(self):
        return self._raw.fileno()

    def close(self):
        try:
            self._conn.shutdown()
        except (SSL.Error, OSError):
            pass
        try:
            self._raw.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self._raw.close()
