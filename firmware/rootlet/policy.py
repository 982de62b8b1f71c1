"""What a certificate must be for Rootlet to go on: stricter than Mbed TLS, in the same words everywhere."""

from . import x509
from .dates import date
from .errors import RootletError

_KEYS = ("P-256", "P-384", "P-521")
_KEY_CERT_SIGN = 0x04


def ip_bytes(host):
    """The four bytes of a dotted IPv4 address, or None for anything else."""
    parts = host.split(".")
    if len(parts) != 4:
        return None
    octets = []
    for part in parts:
        if not part.isdigit() or len(part) > 3 or int(part) > 255 or (len(part) > 1 and part[0] == "0"):
            return None
        octets.append(int(part))
    return bytes(octets)


def name_matches(pattern, host):
    """Whether a dNSName covers a host name (RFC 9525 section 6.3).

    A wildcard counts only as the whole leftmost label and stands for exactly one label.
    """
    pattern = pattern.lower()
    host = host.lower()
    if host.endswith("."):
        host = host[:-1]
    if not pattern.startswith("*."):
        return pattern == host and bool(host)
    first, dot, rest = host.partition(".")
    return bool(first and dot) and "." in rest and pattern[2:] == rest and "*" not in rest


def check_any(cert, now):
    """Rules for every certificate of a chain: version, dates, key, signature.

    Args: cert: x509.Certificate. now: Unix seconds, from a clock that is set.
    Raises: RootletError CERT_*.
    """
    who = "'" + x509.label(cert.subject) + "'"
    if cert.version != 3:
        raise RootletError("CERT_MALFORMED", "%s is version %d, not 3" % (who, cert.version))
    if now < cert.not_before:
        raise RootletError(
            "CERT_NOT_YET_VALID", "%s starts %s, the clock says %s" % (who, date(cert.not_before), date(now))
        )
    if now > cert.not_after:
        raise RootletError("CERT_EXPIRED", "%s ended %s, the clock says %s" % (who, date(cert.not_after), date(now)))
    kind, size = cert.key
    if not (kind == "RSA" and size >= 2048 or kind == "EC" and size in _KEYS):
        raise RootletError("CERT_WEAK_KEY", "%s has %s %s" % (who, kind, size))


def check_signature(cert):
    """No signature by MD5 or SHA-1, none that Mbed TLS on a board cannot check. Not asked of a trusted root."""
    if not (cert.signature.startswith("SHA256-") or cert.signature[:7] in ("SHA384-", "SHA512-")):
        raise RootletError("CERT_WEAK_SIGNATURE", "'%s' is signed with %s" % (x509.label(cert.subject), cert.signature))


def check_ca(cert):
    """Rules for every certificate above the leaf (RFC 5280 section 6.1.4 k, n)."""
    if not cert.is_ca or (cert.key_usage is not None and not cert.key_usage & _KEY_CERT_SIGN):
        raise RootletError("CERT_USAGE", "'%s' signs certificates but is not a CA" % x509.label(cert.subject))


def check_server(cert, host):
    """Rules for the leaf: it names the host in its SAN and may serve TLS.

    Args: cert: x509.Certificate. host: DNS name (A-labels) or dotted IPv4 address.
    Raises: RootletError CERT_*.
    """
    if cert.eku is not None and x509.SERVER_AUTH not in cert.eku:
        raise RootletError("CERT_USAGE", "'%s' is not for servers (no serverAuth)" % x509.label(cert.subject))
    if not cert.has_san or not (cert.dns or cert.ips):
        raise RootletError("CERT_NO_SAN", "it has only the common name '%s'" % x509.label(cert.subject))
    address = ip_bytes(host)
    if address is not None:
        if address in cert.ips:
            return
        if host in cert.dns:
            raise RootletError("CERT_IP_IN_DNS", "'%s' is a dNSName in it, not an iPAddress" % host)
    else:
        for pattern in cert.dns:
            if name_matches(pattern, host):
                return
    names = list(cert.dns[:4]) + [".".join(str(b) for b in ip) for ip in cert.ips[:4] if len(ip) == 4]
    raise RootletError("CERT_NAME", "you asked for %s, it is for %s" % (host, ", ".join(names)[:120]))
