"""Says why a handshake failed, from its exception and what was seen of the server."""

from . import mbedtls, memory, x509
from .errors import RootletError


def untrusted(judge):
    """Why no root was found, told from the top of what the server sent."""
    top = judge.top
    if top is None:
        return RootletError("CERT_UNKNOWN_CA", "no certificate could be checked")
    alone = len(judge.chain) == 1
    if alone and top.issuer == top.subject:
        return RootletError("CERT_SELF_SIGNED", "it is '%s'" % x509.label(top.subject))
    issuer = x509.label(top.issuer)
    parsed = _parsed_roots(judge)
    named = [root for root in parsed if root.subject == top.issuer]
    if named:
        for root in named:
            # Mbed TLS takes no CA as an issuer whose path length the chain exceeds.
            between = len(judge.chain) - 1 - (top.issuer == top.subject)
            if root.path_len is not None and root.path_len < between:
                return RootletError("CERT_CHAIN", "path length %d of root '%s'" % (root.path_len, issuer))
        if judge.scarce:
            return RootletError("TLS_MEMORY", "%d B were free, a signature could not be checked" % judge.free)
        return RootletError("CERT_UNKNOWN_CA", "a root named '%s' is embedded, but its key differs" % issuer)
    # A leaf alone that tells where its issuer is published, or whose issuer belongs to an embedded root's owner.
    if alone and (top.has_aia or _is_kin(parsed, top)):
        return RootletError("CERT_INCOMPLETE", "only the leaf came; its issuer '%s' did not, or is no CA" % issuer)
    return RootletError("CERT_UNKNOWN_CA", "the issuer is '%s'" % issuer)


def _parsed_roots(judge):
    parsed = []
    for root in judge.roots:
        try:
            parsed.append(x509.parse(root))
        except x509.Malformed:
            pass  # such a root is refused when it is embedded
    return parsed


def _is_kin(roots, top):
    owner = x509.organisation(top.issuer)
    return owner is not None and owner in [x509.organisation(root.subject) for root in roots]


def explain(e, judge):
    """A handshake's exception as a RootletError."""
    if isinstance(e, MemoryError):
        return RootletError("TLS_MEMORY", "largest free block %d B" % memory.largest_block())
    if isinstance(e, RootletError):
        codes = {"NET_TIMEOUT": "TLS_TIMEOUT", "NET_CLOSED": "TLS_CLOSED"}
        return RootletError(codes[e.code], judge.host) if e.code in codes else e
    if isinstance(e, ValueError):
        return untrusted(judge) if "not correctly signed" in str(e) else RootletError("TLS_FAILED", str(e).strip())
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
