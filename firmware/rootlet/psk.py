"""TLS by a pre-shared key: no certificates and no forward secrecy; for private brokers, MicroPython 1.29 or newer."""

import sys

from .errors import RootletError
from .trust import Trust, read_file

# RFC 5487: AEAD, key exchange by the shared key alone. MicroPython's Mbed TLS has none with (EC)DHE on top.
SUITES = ("TLS-PSK-WITH-AES-128-GCM-SHA256", "TLS-PSK-WITH-AES-256-GCM-SHA384")
SHORTEST, LONGEST = 16, 32
FLOOR = 1767225600  # 2026-01-01: for the clock of a board without a cert module, whose build time it would be


class Psk:
    """The key that the board and the server share.

    Args: identity: what the server knows the key by. file: name of the file that holds it, 16 to 32 raw bytes.
    """

    def __init__(self, identity, file):
        self.identity = identity
        self.file = file

    def prepare(self, context):
        """Make a tls.SSLContext offer the shared key and nothing else, so that no certificate can take its place.

        Returns the context. Raises RootletError TLS_IDENTITY, TLS_PSK or TLS_NO_PSK.
        """
        key = read_file(self.file)
        if not SHORTEST <= len(key) <= LONGEST:
            fact = "'%s' holds %d bytes, it must be %d to %d" % (self.file, len(key), SHORTEST, LONGEST)
            raise RootletError("TLS_PSK", fact)
        try:
            context.psk_identity = self.identity
            context.psk_key = key
            there = context.get_ciphers()
        except AttributeError:
            there = ()
        suites = [suite for suite in SUITES if suite in there]
        if not suites:
            raise RootletError("TLS_NO_PSK", "it is " + sys.version.split("; ")[-1][:40])
        context.set_ciphers(suites)
        return context

    def check(self, cipher):
        """That the handshake was by the shared key. cipher: the suite agreed on. Raises RootletError TLS_FAILED."""
        if cipher not in SUITES:
            raise RootletError("TLS_FAILED", "the server chose %s where only a shared key was offered" % cipher)

    def explain(self, e):
        """A handshake's RootletError in the words of shared keys: Mbed TLS does not say which alert came."""
        if e.code not in ("TLS_VERSION", "TLS_REFUSED", "TLS_CLOSED"):
            return e
        return RootletError("TLS_PSK", "it has another key for '%s', or none, or no TLS-PSK" % self.identity)


def trust(base, identity, file):
    """A trust by a shared key, with clock and memory needs of another trust, and none of its roots.

    Args: base: a trust.Trust. identity: text, what the broker knows the key by. file: name of the raw key, 16 to 32
    bytes.
    Returns a trust.Trust. A connection by it raises RootletError TLS_PSK, TLS_NO_PSK, TLS_IDENTITY.
    """
    shared = Trust([], base.now, needs=base.needs, floor=base.floor)
    shared.psk = Psk(identity, file)  # type: ignore[assignment]
    return shared
