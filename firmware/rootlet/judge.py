"""Judges the certificates of a server while Mbed TLS verifies them, and says why a handshake failed."""

import gc
import hashlib

from . import mbedtls, memory, policy, x509
from .errors import RootletError
from .trust import pin_text

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
        return mbedtls.X509_FATAL

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
        """Why no root was found, told from the top of what the server sent."""
        top = self.top
        if top is None:
            return RootletError("CERT_UNKNOWN_CA", "no certificate could be checked")
        alone = len(self.chain) == 1
        if alone and top.issuer == top.subject:
            return RootletError("CERT_SELF_SIGNED", "it is '%s'" % x509.label(top.subject))
        issuer = x509.label(top.issuer)
        parsed = self._parsed_roots()
        named = [root for root in parsed if root.subject == top.issuer]
        if named:
            for root in named:
                # Mbed TLS takes no CA as an issuer whose path length the chain exceeds.
                between = len(self.chain) - 1 - (top.issuer == top.subject)
                if root.path_len is not None and root.path_len < between:
                    return RootletError("CERT_CHAIN", "path length %d of root '%s'" % (root.path_len, issuer))
            if self.scarce:
                return RootletError("TLS_MEMORY", "%d B were free, a signature could not be checked" % self.free)
            return RootletError("CERT_UNKNOWN_CA", "a root named '%s' is embedded, but its key differs" % issuer)
        # A leaf alone that tells where its issuer is published, or whose issuer belongs to an embedded root's owner.
        if alone and (top.has_aia or self._is_kin(parsed, top)):
            return RootletError("CERT_INCOMPLETE", "only the leaf came; its issuer '%s' did not, or is no CA" % issuer)
        return RootletError("CERT_UNKNOWN_CA", "the issuer is '%s'" % issuer)

    def _parsed_roots(self):
        parsed = []
        for root in self.roots:
            try:
                parsed.append(x509.parse(root))
            except x509.Malformed:
                pass  # such a root is refused when it is embedded
        return parsed

    @staticmethod
    def _is_kin(roots, top):
        owner = x509.organisation(top.issuer)
        return owner is not None and owner in [x509.organisation(root.subject) for root in roots]


def explain(e, judge):
    """A handshake's exception as a RootletError."""
    if judge.fault:
        return judge.fault
    if isinstance(e, MemoryError):
        return RootletError("TLS_MEMORY", "largest free block %d B" % memory.largest_block())
    if isinstance(e, RootletError):
        codes = {"NET_TIMEOUT": "TLS_TIMEOUT", "NET_CLOSED": "TLS_CLOSED"}
        return RootletError(codes[e.code], judge.host) if e.code in codes else e
    if isinstance(e, ValueError):
        return judge.untrusted() if "not correctly signed" in str(e) else RootletError("TLS_FAILED", str(e).strip())
    return _explain_mbedtls(e.args[0] if e.args else 0, judge)


def _explain_mbedtls(number: int, judge):
    """The same for an OSError, by the number Mbed TLS or the socket gave."""
    code = mbedtls.catalogue_code(number)
    if code == "TLS_MEMORY":
        return RootletError(code, "largest free block %d B" % memory.largest_block())
    if code == "NET_CLOSED":
        # A server that refuses our certificate sends an alert and closes; the close may overtake the alert.
        return RootletError("TLS_REFUSED" if judge.leaf_seen else "TLS_CLOSED", judge.host)
    if code == "TLS_REFUSED":
        return RootletError(code if judge.leaf_seen else "TLS_VERSION", "it sent a fatal alert")
    return RootletError("TLS_TIMEOUT" if code == "NET_TIMEOUT" else code, "%s, code %d" % (judge.host, number))
