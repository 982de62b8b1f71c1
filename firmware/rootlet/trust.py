"""Whom the board trusts and who it is: roots, the clock to judge dates by, pins, its own certificate."""

import binascii
import os

from . import slots, trees
from .errors import RootletError

_PIN = "sha256//"  # the form curl has


def pin_text(digest):
    """A pin as text, sha256//BASE64. Args: digest: the 32-byte SHA-256 of a SubjectPublicKeyInfo (RFC 7469)."""
    return _PIN + binascii.b2a_base64(digest).decode().strip()


def pin_bytes(text):
    """The 32 bytes of a pin, or None where `text` is none."""
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
        needs: the "tls" row of the board file (see memory.check), or None.
        floor: Unix seconds of the build, the lower bound for any clock.
        store: a store.Store of more roots, of which the one that is needed is used, or None.
        pins: 32-byte digests; where there are any, a certificate of the chain must have one: see with_pins.
    Attributes beside these:
        choices: a pick.Choices, which root each host needed, where there is a store.
        cert, key: file names of the board's own certificate and private key (DER), or None: see with_identity.
        psk: a psk.Psk in place of roots, or None: see psk.trust.
    """

    def __init__(self, roots, now, needs=None, floor=0, store=None, pins=()):
        self.roots = roots
        self.now = now
        self.needs = needs
        self.floor = floor
        self.store = store
        self.choices = None
        self.cert = self.key = self.psk = None
        self.pins = pins
        if store:
            from .pick import Choices

            self.choices = Choices()

    def _copy(self):
        other = Trust(self.roots, self.now, self.needs, self.floor)
        other.store, other.choices = self.store, self.choices
        other.cert, other.key, other.pins, other.psk = self.cert, self.key, self.pins, self.psk
        return other

    def with_identity(self, cert, key):
        """The same trust with the board's own certificate and key, for mutual TLS. Args: cert, key: file names, DER."""
        other = self._copy()
        other.cert, other.key = cert, key
        return other

    def with_pins(self, texts):
        """The same trust with these pins in place of others. texts: sha256//BASE64 each, or None for no pins.

        Raises: RootletError CONFIG for what is no pin.
        """
        other = self._copy()
        other.pins = tuple([pin_bytes(text) for text in texts or ()])
        if None in other.pins:
            raise RootletError("CONFIG", "a pin is not sha256//BASE64", "print it: `rootlet certs pin FILE`")
        return other


def load(module_name, now, needs=None, store_file=None):
    """Trust from a cert module made by `rootlet certs embed`, a root store made by `rootlet certs store`, or both.

    Args:
        module_name: without ".py"; store_file: name of the file. Either may be absent, not both.
        now: function returning Unix seconds, such as a Clock's now.
        needs: the "tls" row of the board file: memory that is checked before a handshake; None: it is not checked.
    Returns a Trust.
    Raises: RootletError TLS_NO_ROOTS, TLS_STORE.
    """
    floor = 0
    roots: list = []
    try:
        module = slots.load_module(module_name)
        roots = [row[3] for row in module.ROOTS]
        floor = module.BUILD_TIME
    except ImportError:
        pass
    except (AttributeError, ValueError, SyntaxError, NotImplementedError):
        raise RootletError("TLS_NO_ROOTS", "cert module '%s' is damaged" % module_name) from None
    store = None
    in_slot = slots.path(store_file)
    store_file = in_slot if in_slot != store_file else trees.path(store_file)
    if store_file and _exists(store_file):
        from .store import Store

        store = Store(store_file)
        floor = max(floor, store.build_time)
    if not roots and not store:
        raise RootletError("TLS_NO_ROOTS", "cert module '%s' is absent or empty" % module_name)
    return Trust(roots, now, needs, floor, store)


def _exists(name):
    try:
        os.stat(name)
        return True
    except OSError:
        return False


def read_file(name):
    """The bytes of one of the board's own credential files. Raises RootletError TLS_IDENTITY."""
    try:
        with open(name, "rb") as f:
            return f.read()
    except OSError:
        raise RootletError("TLS_IDENTITY", "file '%s' is absent" % name) from None
