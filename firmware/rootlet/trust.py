"""Whom the board trusts and who it is: the embedded roots, the clock to judge dates by, its own certificate."""

from . import slots
from .errors import RootletError


class Trust:
    """Everything a verified connection is judged by.

    Args:
        roots: CA certificates, each DER bytes.
        now: function returning Unix seconds; raises RootletError CLOCK_NOT_SET while the clock is not good.
        cert, key: file names of the board's own certificate and private key (DER), both or neither.
        needs: the "tls" row of the board file (see memory.check), or None.
        floor: Unix seconds of the build, the lower bound for any clock.
    """

    def __init__(self, roots, now, cert=None, key=None, needs=None, floor=0):
        self.roots = roots
        self.now = now
        self.cert = cert
        self.key = key
        self.needs = needs
        self.floor = floor

    def with_identity(self, cert, key):
        """The same trust with the board's own certificate and key, for mutual TLS."""
        return Trust(self.roots, self.now, cert, key, self.needs, self.floor)


def load(module_name, now, needs=None):
    """Trust from a cert module made by `rootlet certs embed`.

    Raises: RootletError TLS_NO_ROOTS where the module is absent or empty.
    """
    try:
        module = slots.load_module(module_name)
        roots = [row[3] for row in module.ROOTS]
    except (ImportError, AttributeError, ValueError, SyntaxError):
        roots = []
    if not roots:
        raise RootletError("TLS_NO_ROOTS", "cert module '%s' is absent, empty or damaged" % module_name)
    return Trust(roots, now, needs=needs, floor=module.BUILD_TIME)


def read_file(name):
    """The bytes of one of the board's own credential files. Raises RootletError TLS_IDENTITY."""
    try:
        with open(name, "rb") as f:
            return f.read()
    except OSError:
        raise RootletError("TLS_IDENTITY", "file '%s' is absent" % name) from None
