"""Reads X.509 certificates (DER) far enough to judge them. Bytes in, facts out; no I/O, no recursion."""

from .dates import unix_time

# Structure: RFC 5280 section 4.1; encoding: X.690 (DER).

# OID value bytes, as they stand in the certificate.
_SAN = b"\x55\x1d\x11"
_BASIC_CONSTRAINTS = b"\x55\x1d\x13"
_KEY_USAGE = b"\x55\x1d\x0f"
_EKU = b"\x55\x1d\x25"
_NAME_CONSTRAINTS = b"\x55\x1d\x1e"
_AIA = b"\x2b\x06\x01\x05\x05\x07\x01\x01"
SERVER_AUTH = b"\x2b\x06\x01\x05\x05\x07\x03\x01"
ANY_USAGE = b"\x55\x1d\x25\x00"
_CN = b"\x55\x04\x03"
_O = b"\x55\x04\x0a"
_RSA = b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01"
_EC = b"\x2a\x86\x48\xce\x3d\x02\x01"
_CURVES = {
    b"\x2a\x86\x48\xce\x3d\x03\x01\x07": "P-256",
    b"\x2b\x81\x04\x00\x22": "P-384",
    b"\x2b\x81\x04\x00\x23": "P-521",
}
_SIGNATURES = {
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x04": "MD5-RSA",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x05": "SHA1-RSA",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b": "SHA256-RSA",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0c": "SHA384-RSA",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0d": "SHA512-RSA",
    b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0a": "RSA-PSS",
    b"\x2a\x86\x48\xce\x3d\x04\x01": "SHA1-ECDSA",
    b"\x2a\x86\x48\xce\x3d\x04\x03\x02": "SHA256-ECDSA",
    b"\x2a\x86\x48\xce\x3d\x04\x03\x03": "SHA384-ECDSA",
    b"\x2a\x86\x48\xce\x3d\x04\x03\x04": "SHA512-ECDSA",
    b"\x2b\x65\x70": "Ed25519",
    b"\x2b\x65\x71": "Ed448",
}
_MAX_EXTENSIONS = 40


# Tags of names in a subject alternative name.
DNS_NAME = 0x82
IP_ADDRESS = 0x87


class Malformed(Exception):
    """The bytes are not a certificate this reader understands."""


def tlv(der, pos, end):
    """Read one DER element.

    Args:
        der: bytes-like. pos, end: where it starts, where its container ends (byte offsets).
    Returns (tag, start of value, end of value). Raises Malformed.
    """
    if end - pos < 2:
        raise Malformed("element cut off")
    tag = der[pos]
    if tag & 0x1F == 0x1F:
        raise Malformed("multi-byte tag")
    size = der[pos + 1]
    pos += 2
    if size & 0x80:
        count = size & 0x7F
        if not 1 <= count <= 3 or end - pos < count:
            raise Malformed("bad length")
        size = 0
        for i in range(count):
            size = size << 8 | der[pos + i]
        if size < 128 or size < 1 << (8 * (count - 1)):
            raise Malformed("length not minimal")
        pos += count
    if size > end - pos:
        raise Malformed("element longer than its container")
    return tag, pos, pos + size


def _expect(der, pos, end, tag):
    found, start, stop = tlv(der, pos, end)
    if found != tag:
        raise Malformed("tag 0x%02x where 0x%02x belongs" % (found, tag))
    return start, stop


def _alone(der, pos, end, tag):
    """As _expect, for an element that must fill its container."""
    start, stop = _expect(der, pos, end, tag)
    if stop != end:
        raise Malformed("trailing bytes")
    return start, stop


def _time(der, pos, end):
    """A Time (RFC 5280 section 4.1.2.5) as (Unix seconds, end offset)."""
    tag, start, stop = tlv(der, pos, end)
    size = {0x17: 13, 0x18: 15}.get(tag)
    if size is None or stop - start != size or der[stop - 1] != 0x5A:
        raise Malformed("bad time")
    digits = bytes(der[start : stop - 1])
    for digit in digits:
        if not 0x30 <= digit <= 0x39:
            raise Malformed("bad time")
    skip = size - 11
    year = int(digits[:skip])
    if tag == 0x17:
        year += 1900 if year >= 50 else 2000
    parts = [int(digits[i : i + 2]) for i in range(skip, skip + 10, 2)]
    month, day, hour, minute, second = parts
    if not (1 <= month <= 12 and 1 <= day <= 31 and hour < 24 and minute < 60 and second < 60):
        raise Malformed("bad time")
    return unix_time(year, month, day, hour, minute, second), stop


class Certificate:
    """What the policy needs to know of one certificate.

    version (3 for v3), not_before and not_after (Unix seconds), issuer and subject (DER bytes of the Name),
    key (("RSA", bits) or ("EC", curve) or ("other", 0)), signature (algorithm name),
    san (where the subject alternative names start and end in the DER, or None), names (how many of them are DNS names
    or IP addresses: see alt_names), eku (list of OID bytes, or None where absent),
    is_ca, path_len (int, or None where absent), key_usage (first octet, or None where absent),
    critical (OID bytes of a critical extension that is not understood, or None), has_aia, name_constrained,
    spki (where the SubjectPublicKeyInfo starts and ends in the DER, for pins).
    """

    def __init__(self):
        self.version = 1
        self.san = None
        self.names = 0
        self.eku = None
        self.is_ca = False
        self.path_len = None
        self.key_usage = None
        self.critical = None
        self.has_aia = False
        self.name_constrained = False
        self.key = ("other", 0)
        self.spki = (0, 0)
        self.signature = ""
        self.issuer = b""
        self.subject = b""
        self.not_before = 0
        self.not_after = 0


def parse(der):
    """Read a certificate.

    Args: der: bytes-like holding exactly one DER certificate.
    Returns a Certificate. Raises Malformed for anything else.
    """
    cert = Certificate()
    start, end = _alone(der, 0, len(der), 0x30)
    pos, tbs_end = _expect(der, start, end, 0x30)
    sig_start, sig_end = _expect(der, tbs_end, end, 0x30)
    _alone(der, sig_end, end, 0x03)
    cert.signature = _signature_name(der, sig_start, sig_end)
    tag, first, stop = tlv(der, pos, tbs_end)
    if tag == 0xA0:
        v, v_end = _expect(der, first, stop, 0x02)
        if v_end - v != 1:
            raise Malformed("bad version")
        cert.version = der[v] + 1
        pos = stop
    _, pos = _expect(der, pos, tbs_end, 0x02)  # serial number
    inner_start, inner_end = _expect(der, pos, tbs_end, 0x30)
    if bytes(der[inner_start:inner_end]) != bytes(der[sig_start:sig_end]):
        raise Malformed("the two signature algorithms differ")
    start, pos = _expect(der, inner_end, tbs_end, 0x30)
    cert.issuer = bytes(der[inner_end:pos])
    start, stop = _expect(der, pos, tbs_end, 0x30)
    cert.not_before, middle = _time(der, start, stop)
    cert.not_after, middle = _time(der, middle, stop)
    if middle != stop:
        raise Malformed("trailing bytes")
    subject_at = stop
    _, pos = _expect(der, subject_at, tbs_end, 0x30)
    cert.subject = bytes(der[subject_at:pos])
    start, stop = _expect(der, pos, tbs_end, 0x30)
    cert.spki = pos, stop
    cert.key = _key(der, start, stop)
    pos = stop
    # What may follow, each once at most and in this order: issuerUniqueID, subjectUniqueID, extensions.
    last = 0
    while pos < tbs_end:
        tag, start, pos = tlv(der, pos, tbs_end)
        if tag not in (0x81, 0x82, 0xA3) or tag <= last:
            raise Malformed("unknown element")
        last = tag
        if tag == 0xA3:
            _extensions(cert, der, start, pos)
    return cert


def _signature_name(der, pos, end):
    start, stop = _expect(der, pos, end, 0x06)
    return _SIGNATURES.get(bytes(der[start:stop]), "unknown")


def _key(der, pos, end):
    start, stop = _expect(der, pos, end, 0x30)
    oid_start, oid_end = _expect(der, start, stop, 0x06)
    oid = bytes(der[oid_start:oid_end])
    if oid == _EC:
        curve_start, curve_end = _expect(der, oid_end, stop, 0x06)
        return "EC", _CURVES.get(bytes(der[curve_start:curve_end]), "unknown")
    if oid == _RSA:
        bits, bits_end = _expect(der, stop, end, 0x03)
        start, stop = _expect(der, bits + 1, bits_end, 0x30)
        start, stop = _expect(der, start, stop, 0x02)
        while start < stop and der[start] == 0:
            start += 1
        size = (stop - start) * 8
        if size:
            top = der[start]
            while top < 0x80:
                top <<= 1
                size -= 1
        return "RSA", size
    return "other", 0


def _extensions(cert, der, pos, end):
    pos, end = _alone(der, pos, end, 0x30)
    seen: list = []
    while pos < end:
        if len(seen) >= _MAX_EXTENSIONS:
            raise Malformed("too many extensions")
        start, pos = _expect(der, pos, end, 0x30)
        oid_start, oid_end = _expect(der, start, pos, 0x06)
        oid = bytes(der[oid_start:oid_end])
        if oid in seen:
            raise Malformed("an extension twice")  # RFC 5280 section 4.2
        seen.append(oid)
        critical = False
        tag, start, stop = tlv(der, oid_end, pos)
        if tag == 0x01:
            critical = _true(der, start, stop)
            tag, start, stop = tlv(der, stop, pos)
        if tag != 0x04 or stop != pos:
            raise Malformed("extension without a value")
        if oid == _SAN:
            cert.san = _alone(der, start, stop, 0x30)
            for tag, start, stop in alt_names(der, cert):
                cert.names += tag in (DNS_NAME, IP_ADDRESS)
                if tag == IP_ADDRESS and stop - start not in (4, 16):
                    raise Malformed("bad IP address")
        elif oid == _EKU:
            cert.eku = _oids(der, start, stop)
        elif oid == _BASIC_CONSTRAINTS:
            _basic(cert, der, start, stop)
        elif oid == _KEY_USAGE:
            start, stop = _alone(der, start, stop, 0x03)
            cert.key_usage = der[start + 1] if stop - start >= 2 else 0
        elif oid == _NAME_CONSTRAINTS:
            cert.name_constrained = True
        else:
            cert.has_aia = cert.has_aia or oid == _AIA
            if critical:
                cert.critical = oid


def _true(der, start, end):
    if end - start != 1 or der[start] not in (0, 0xFF):
        raise Malformed("bad truth value")
    return der[start] == 0xFF


def _basic(cert, der, pos, end):
    """BasicConstraints (RFC 5280 section 4.2.1.9)."""
    pos, end = _alone(der, pos, end, 0x30)
    if pos < end and der[pos] == 0x01:
        _, start, pos = tlv(der, pos, end)
        cert.is_ca = _true(der, start, pos)
    if pos < end:
        start, stop = _alone(der, pos, end, 0x02)
        if not 1 <= stop - start <= 3 or der[start] & 0x80:
            raise Malformed("bad path length")
        cert.path_len = 0
        for i in range(start, stop):
            cert.path_len = cert.path_len << 8 | der[i]


def alt_names(der, cert):
    """The subject alternative names, (tag, start, end) each: read where they lie: a list of hundreds costs memory."""
    pos, end = cert.san or (0, 0)
    while pos < end:
        tag, start, pos = tlv(der, pos, end)
        yield tag, start, pos


def _oids(der, pos, end):
    pos, end = _alone(der, pos, end, 0x30)
    found: list = []
    while pos < end:
        start, pos = _expect(der, pos, end, 0x06)
        if len(found) >= _MAX_EXTENSIONS:
            raise Malformed("too many key usages")
        found.append(bytes(der[start:pos]))
    return found


def text(der, start, end, low=0x21):
    """Bytes as ASCII text. Anything outside becomes "?", which matches no name and cannot disturb a log."""
    raw = bytearray(der[start:end])
    for i in range(len(raw)):
        if not low <= raw[i] < 0x7F:
            raw[i] = 0x3F
    return bytes(raw).decode()


def dotted(oid):
    """An OID as text, such as 2.5.29.19, from its DER value; for people only."""
    arcs: list = []
    value = 0
    for byte in oid[:24]:
        value = value << 7 | byte & 0x7F
        if byte < 0x80:
            arcs.extend((min(value // 40, 2), value - 40 * min(value // 40, 2)) if not arcs else (value,))
            value = 0
    return ".".join(str(arc) for arc in arcs)


def _attribute(name, wanted):
    """(start, end) of the last value of an attribute in a DER Name; None where it has none or cannot be read."""
    found = None
    try:
        pos, end = _expect(name, 0, len(name), 0x30)
        while pos < end:
            start, pos = _expect(name, pos, end, 0x31)
            start, stop = _expect(name, start, pos, 0x30)
            oid_start, oid_end = _expect(name, start, stop, 0x06)
            if bytes(name[oid_start:oid_end]) == wanted:
                found = tlv(name, oid_end, stop)[1:]
    except Malformed:
        return None
    return found


def label(name):
    """The common name, else the organisation, else "(no name)", of a DER Name; for people only."""
    found = _attribute(name, _CN) or _attribute(name, _O)
    if not found:
        return "(no name)"
    start, stop = found
    return text(name, start, min(stop, start + 64), 0x20) or "(no name)"


def organisation(name):
    """The DER value of organizationName in a DER Name, or None."""
    found = _attribute(name, _O)
    return bytes(name[found[0] : found[1]]) if found else None
