"""Judges the certificates of a server while Mbed TLS verifies them."""

import gc
import hashlib

from . import policy, x509
from .errors import RootletError, unload
from .trust import pin_text

X509_FATAL = -0x3000  # of Mbed TLS: it goes no further
_MARGIN = 8192


class Judge:
    """Judges each certificate as Mbed TLS hands it over, top of the chain first, leaf (depth 0) last."""

    def __init__(self, host, trust, now, roots=None):
        self.host = host
        self.roots = trust.roots if roots is None else roots
        self.pins = trust.pins
        self.pinned = not trust.pins
        self.now = now
        self.fault = None
        self.chain = []
        self.top = None
        self.room = None
        self.since = 0  # the newest start of a certificate: by that day at least it is
        self.leaf_seen = False
        # On rp2 memory that runs out is reported as "not correctly signed": then the difference must be told by this.
        needs = trust.needs
        self.free = gc.mem_free() if needs else 0
        self.scarce = bool(needs) and needs["heap"] == "gc" and self.free < needs["free_bytes"] + _MARGIN

    def __call__(self, der, depth):
        # Nothing may be raised from here: it would jump through Mbed TLS and leak what it holds.
        try:
            if not self.fault:
                self._judge(der, depth)
                return 0
        except RootletError as e:
            self.fault = e
        except x509.Malformed as e:
            self.fault = RootletError("CERT_MALFORMED", str(e))
        except MemoryError:
            self.fault = RootletError("TLS_MEMORY", "while a certificate was judged")
        except Exception as e:  # such as a full stack
            self.fault = RootletError("TLS_FAILED", "a certificate could not be judged: %s" % type(e).__name__)
        return X509_FATAL

    def _judge(self, der, depth):
        policy.check_length(depth)
        cert = x509.parse(der)
        self.chain.append(x509.label(cert.subject))
        policy.check_any(cert, self.now)
        self.since = max(self.since, cert.not_before)
        if self.top is None:
            self.top = cert
        root = self._is_root(der)
        if not root:
            policy.check_signature(cert)
        pin = None
        if self.pins:
            start, end = cert.spki
            pin = hashlib.sha256(der[start:end]).digest()
            self.pinned = self.pinned or pin in self.pins
        if depth:
            policy.check_ca(cert)
            if not root:
                policy.check_intermediate(cert)
            self.room = policy.room_below(cert, self.room)
            return
        policy.check_server(cert)
        policy.check_name(cert, der, self.host)
        if not self.pinned:
            raise RootletError("CERT_PIN", "the server's is " + pin_text(pin))
        self.leaf_seen = True

    def _is_root(self, der):
        size = len(der)
        for root in self.roots:
            if len(root) == size and root == der:
                return True
        return False

    def untrusted(self):
        """Why no root was found: see why.untrusted."""
        return _why("untrusted", self)


def explain(e, judge):
    """A handshake's exception as a RootletError."""
    return judge.fault or _why("explain", e, judge)


def _why(name, *args):
    """Ask the module that is needed after a failure only."""
    try:
        from . import why

        return getattr(why, name)(*args)
    except (MemoryError, OSError, ImportError):
        return RootletError("TLS_MEMORY", "while a failure was looked into")
    finally:
        unload("why")
        unload("mbedtls")
