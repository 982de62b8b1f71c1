"""Whom the board trusts and who it is: the embedded roots, the clock to judge dates by, its own certificate."""

import binascii

from .errors import RootletError

_PIN = "sha256//"  # the form curl has


def pin_text(digest):
    """A pin, the 32-byte SHA-256 of a SubjectPublicKeyInfo, as text: sha256//BASE64."""
    return _PIN + binascii.b2a_base64(digest).decode().strip()


def pin_bytes(text):
    """The 32 bytes of such a text, or None for anything else."""
    try:
        digest = binascii.a2b_base64(text[len(_PIN) :])
    except (ValueError, TypeError):
        return None
    return digest if len(digest) == 32 and pin_text(digest) == text else None


class Trust:
    """Everything a verified connection is judged by.

    Args:
        roots: CA certificates, each DER bytes.
        now: function returning Unix seconds; raises RootletError CLOCK_NOT_SET while the clock is not good.
        cert, key: file names of the board's own certificate and private key (DER), both or neither.
        needs: the "tls" row of the board file (see memory.check), or None.
        floor: Unix seconds of the build, the lower bound for any clock.
        pins: 32-byte digests (see pin_bytes); where there are any, a certificate of the chain must have one.
    """

    def __init__(self, roots, now, cert=None, key=None, needs=None, floor=0, pins=()):
        self.roots = roots
        self.now = now
        self.cert = cert
        self.key = key
        self.needs = needs
        self.floor = floor
        self.pins = pins

    def with_identity(self, cert, key):
        """The same trust with the board's own certificate and key, for mutual TLS."""
        return Trust(self.roots, self.now, cert, key, self.needs, self.floor, self.pins)

    def with_pins(self, texts):
        """The same trust with these pins in place of others. texts: sha256//BASE64 each, or None for no pins.

        Raises: RootletError CONFIG for what is no pin.
        """
        pins = tuple([pin_bytes(text) for text in texts or ()])
        if None in pins:
            raise RootletError("CONFIG", "a pin is not sha256//BASE64", "print it: `rootlet certs pin FILE`")
        return Trust(self.roots, self.now, self.cert, self.key, self.needs, self.floor, pins)


def load(module_name, now, needs=None):
    """Trust from a cert module made by `rootlet certs embed`.

    Raises: RootletError TLS_NO_ROOTS where the module is absent or empty.
    """
    try:
        module = __import__(module_name)
        roots = [row[3] for row in module.ROOTS]
    except (ImportError, AttributeError):
        roots = []
    if not roots:
        raise RootletError("TLS_NO_ROOTS", "cert module '%s' is absent or empty" % module_name)
    return Trust(roots, now, needs=needs, floor=module.BUILD_TIME)


def read_file(name):
    """The bytes of one of the board's own credential files. Raises RootletError TLS_IDENTITY."""
    try:
        with open(name, "rb") as f:
            return f.read()
    except OSError:
        raise RootletError("TLS_IDENTITY", "file '%s' is absent" % name) from None
