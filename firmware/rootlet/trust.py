"""Whom the board trusts and who it is: the embedded roots, the clock to judge dates by, its own certificate."""

import os

from .errors import RootletError


class Trust:
    """Everything a verified connection is judged by.

    Args:
        roots: CA certificates, each DER bytes.
        now: function returning Unix seconds; raises RootletError CLOCK_NOT_SET while the clock is not good.
        cert, key: file names of the board's own certificate and private key (DER), both or neither.
        needs: the "tls" row of the board file (see memory.check), or None.
        floor: Unix seconds of the build, the lower bound for any clock.
        store: a store.Store of more roots, of which the one that is needed is used, or None.
    """

    psk = None  # a psk.Psk in place of roots: see psk.trust

    def __init__(self, roots, now, cert=None, key=None, needs=None, floor=0, store=None):
        self.roots = roots
        self.now = now
        self.cert = cert
        self.key = key
        self.needs = needs
        self.floor = floor
        self.store = store
        self.choices = None
        if store:
            from .pick import Choices

            self.choices = Choices()

    def with_identity(self, cert, key):
        """The same trust with the board's own certificate and key, for mutual TLS."""
        other = Trust(self.roots, self.now, cert, key, self.needs, self.floor)
        other.store, other.choices = self.store, self.choices
        return other


def load(module_name, now, needs=None, store_file=None):
    """Trust from a cert module made by `rootlet certs embed`, a root store made by `rootlet certs store`, or both.

    Args: module_name, store_file: either may be absent, not both.
    Raises: RootletError TLS_NO_ROOTS, TLS_STORE.
    """
    floor = 0
    roots: list = []
    try:
        module = __import__(module_name)
        roots = [row[3] for row in module.ROOTS]
        floor = module.BUILD_TIME
    except (ImportError, AttributeError):
        pass
    store = None
    if store_file and exists(store_file):
        from .store import Store

        store = Store(store_file)
        floor = max(floor, store.build_time)
    if not roots and not store:
        raise RootletError("TLS_NO_ROOTS", "cert module '%s' is absent or empty" % module_name)
    return Trust(roots, now, needs=needs, floor=floor, store=store)


def exists(name):
    """Whether the board has a file of this name."""
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
