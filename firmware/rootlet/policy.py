"""What a certificate must be for Rootlet to go on: stricter than Mbed TLS, in the same words everywhere."""

from . import x509
from .dates import dates
from .errors import RootletError

_KEYS = ("P-256", "P-384", "P-521")
_DIGITAL_SIGNATURE = 0x80
_KEY_CERT_SIGN = 0x04
LONGEST = 8  # certificates of a chain, with leaf and root


def _ipv4(text):
    parts = text.split(".")
    if len(parts) != 4:
        return None
    octets = []
    for part in parts:
        if not part.isdigit() or len(part) > 3 or int(part) > 255 or (len(part) > 1 and part[0] == "0"):
            return None
        octets.append(int(part))
    return bytes(octets)


def _groups(text, last):
    """Colon-separated groups of an IPv6 address as bytes, or None; an IPv4 tail only where they are the last."""
    found = b""
    parts = text.split(":") if text else []
    for i, part in enumerate(parts):
        if last and i == len(parts) - 1 and "." in part:
            tail = _ipv4(part)
            if tail is None:
                return None
            return found + tail
        if not 1 <= len(part) <= 4:
            return None
        for c in part:
            if c not in "0123456789abcdefABCDEF":
                return None
        value = int(part, 16)
        found += bytes((value >> 8, value & 0xFF))
    return found


def ip_bytes(host):
    """The 4 bytes of an IPv4 address or the 16 of an IPv6 one, from text (RFC 4291 section 2.2), or None."""
    if ":" not in host:
        return _ipv4(host)
    head, gap, tail = host.partition("::")
    left, right = _groups(head, not gap), _groups(tail, True)
    if left is None or right is None:
        return None
    room = 16 - len(left) - len(right)
    if room < 2 if gap else room:
        return None
    return left + bytes(room) + right


def ip_text(ip):
    """An address of 4 or 16 bytes as text, for people (an IPv6 one without "::")."""
    if len(ip) == 4:
        return ".".join([str(b) for b in ip])
    return ":".join(["%x" % (ip[i] << 8 | ip[i + 1]) for i in range(0, len(ip), 2)])


def _plain(host):
    """A host as it is compared: lower case, without the dot at the end."""
    host = host.lower()
    return host[:-1] if host.endswith(".") else host


def _is_name(host):
    """Whether a host can be a DNS name; 127.1 and the like are no names, they are addresses to some resolvers."""
    labels = host.split(".")
    for label in labels:
        if not 1 <= len(label) <= 63:
            return False
    return "*" not in host and not labels[-1].isdigit()


def name_matches(pattern, host):
    """Whether a dNSName covers a host name (RFC 9525 section 6.3).

    A wildcard counts only as the whole leftmost label and stands for exactly one label.
    """
    pattern = pattern.lower()
    host = _plain(host)
    if not pattern.startswith("*."):
        return pattern == host and bool(host)
    first, dot, rest = host.partition(".")
    return bool(first and dot) and "." in rest and pattern[2:] == rest and "*" not in rest


def check_any(cert, now):
    """Rules for every certificate of a chain: version, extensions, dates, key.

    Args: cert: x509.Certificate. now: Unix seconds, from a clock that is set.
    Raises: RootletError CERT_*.
    """
    who = "'" + x509.label(cert.subject) + "'"
    if cert.version != 3:
        raise RootletError("CERT_MALFORMED", "%s is version %d, not 3" % (who, cert.version))
    if cert.critical:
        raise RootletError("CERT_EXTENSION", "%s has %s, critical" % (who, x509.dotted(cert.critical)))
    if cert.name_constrained:
        raise RootletError("CERT_EXTENSION", "%s has name constraints" % who)
    if now < cert.not_before:
        fact = who + " starts %s, the clock says %s" % dates(cert.not_before, now)
        raise RootletError("CERT_NOT_YET_VALID", fact)
    if now > cert.not_after:
        raise RootletError("CERT_EXPIRED", who + " ended %s, the clock says %s" % dates(cert.not_after, now))
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


def check_intermediate(cert):
    """A CA between root and leaf that names usages must name that of servers."""
    if cert.eku is not None and x509.SERVER_AUTH not in cert.eku and x509.ANY_USAGE not in cert.eku:
        raise RootletError("CERT_USAGE", "'%s' is no CA for servers (no serverAuth)" % x509.label(cert.subject))


def room_below(cert, room):
    """How many more intermediates may follow below a CA (RFC 5280 section 6.1.4 l, m).

    Args: cert: the CA. room: what was allowed below the CA above it; None: no limit.
    Returns the same for what follows it. Raises: RootletError CERT_CHAIN.
    """
    if room is not None and cert.issuer != cert.subject:
        if room < 1:
            raise RootletError("CERT_CHAIN", "'%s' is one CA too many (path length)" % x509.label(cert.subject))
        room -= 1
    if cert.path_len is not None and (room is None or cert.path_len < room):
        room = cert.path_len
    return room


def check_length(depth):
    """No endless chains. depth: of the top of the chain, 0 for the leaf. Raises: RootletError CERT_CHAIN."""
    if depth >= LONGEST:
        raise RootletError("CERT_CHAIN", "%d certificates, at most %d are taken" % (depth + 1, LONGEST))


def check_server(cert):
    """Rules for the leaf: it may serve TLS with the ECDHE suites, and issues nothing.

    Raises: RootletError CERT_USAGE.
    """
    if cert.is_ca:
        fault = "is a CA, and no CA may serve"
    elif cert.eku is not None and x509.SERVER_AUTH not in cert.eku:
        fault = "is not for servers (no serverAuth)"
    elif cert.key_usage is not None and not cert.key_usage & _DIGITAL_SIGNATURE:
        fault = "may not sign a handshake (no digitalSignature)"
    else:
        return
    raise RootletError("CERT_USAGE", "'%s' %s" % (x509.label(cert.subject), fault))


def check_name(cert, der, host):
    """The leaf names the host in its SAN (RFC 9525): the common name never counts.

    Args: cert: x509.Certificate, and its DER. host: DNS name (A-labels), or an IPv4 or IPv6 address as text.
    Raises: RootletError CERT_NO_SAN, CERT_IP_IN_DNS, CERT_NAME.
    """
    if not cert.names:
        raise RootletError("CERT_NO_SAN", "it has only the common name '%s'" % x509.label(cert.subject))
    host = _plain(host)
    address = ip_bytes(host)
    usable = address is not None or _is_name(host)
    below = len(host) - host.find(".") + 1  # how long a wildcard for this host is
    misplaced = False
    seen: list = []
    for tag, start, stop in x509.alt_names(der, cert):
        size = stop - start
        if tag == x509.IP_ADDRESS:
            if address == bytes(der[start:stop]):
                return
        elif tag == x509.DNS_NAME and usable and size and (size == len(host) or der[start] == 0x2A and size == below):
            # Only what may match is made a text.
            pattern = x509.text(der, start, stop).lower()
            if address is None and name_matches(pattern, host):
                return
            misplaced = misplaced or (address is not None and pattern == host)
        if len(seen) < 4 and tag in (x509.DNS_NAME, x509.IP_ADDRESS):
            seen.append((tag, start, stop))
    if misplaced:
        raise RootletError("CERT_IP_IN_DNS", "'%s' is a dNSName in it, not an iPAddress" % host)
    names = [
        x509.text(der, start, min(stop, start + 64)) if tag == x509.DNS_NAME else ip_text(bytes(der[start:stop]))
        for tag, start, stop in seen
    ]
    raise RootletError("CERT_NAME", "you asked for %s, it is for %s" % (host, ", ".join(names)[:120]))
