"""The root store: many trust anchors in one file, of which the one that is needed is rebuilt as a certificate."""

import hashlib

from .errors import RootletError

# A trust anchor is a name, a public key and an end date (RFC 5280 section 6.1.1 d); its own signature says nothing.
#
# Layout, numbers big-endian:
#   0 magic "RLROOTS1"   8 build time (8)   16 version, text (16)   32 count (2)   34 dictionary at (3)   37 size (3)
#   40 SHA-256 of bytes 0 to 39 and of the index, cut to 8 bytes   48 SHA-256 of all bytes but these 32
#   80 index, sorted: for each root name hash (4), entry at (3), SHA-256 of the rebuilt certificate cut to 5 bytes
#   dictionary: names that occur in more than one subject   then the entries
# Entry: kind of key (1), end as decimal digits YYYYMMDDhhmmss (7), size of the rebuilt certificate (2), size of the
# coded subject (1), coded subject, key.
# Coded subject: the RDNs, last one first, each either a reference into the dictionary (2 bytes, top bit set), a row of
# ATTRIBUTES with size (1) and value, or 0 with size (2) and the RDN as DER.
# The certificate is written from its end to its beginning: then each length is known when its turn comes.
MAGIC = b"RLROOTS1"
HEADER = 80
RECORD = 12
# Pairs: last byte of an OID under 2.5.4, tag of the value. Their numbers, from 1, are part of the format.
ATTRIBUTES = b"\x06\x13\x0a\x13\x0a\x0c\x03\x13\x03\x0c\x0b\x13\x0b\x0c\x07\x13\x07\x0c\x08\x13\x08\x0c\x61\x0c\x05\x13"
RSA, P256, P384, P521, OTHER = 0, 1, 2, 3, 4
EC = (
    b"",
    b"\x30\x59\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07\x03\x42\x00\x04",
    b"\x30\x76\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22\x03\x62\x00\x04",
    b"\x30\x81\x9b\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x23\x03\x81\x86\x00\x04",
)
_EC_SIZE = (0, 64, 96, 132)
RSA_ALGORITHM = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01\x05\x00"
EXPONENT = b"\x02\x03\x01\x00\x01"
# By ECDSA or RSA with SHA-256, of the kind of its key: OpenSSL takes it for self-signed only then.
ECDSA_SIGNED = b"\x30\x0a\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02"
RSA_SIGNED = b"\x30\x0d\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b\x05\x00"
HEAD = b"\xa0\x03\x02\x01\x02\x02\x01\x01"
BEGIN = b"\x17\x0d700101000000Z"
IS_CA = b"\xa3\x13\x30\x11\x30\x0f\x06\x03\x55\x1d\x13\x01\x01\xff\x04\x05\x30\x03\x01\x01\xff"
# No signature of a root is checked, but one must stand here: (1, 1).
SIGNATURE = b"\x03\x09\x00\x30\x06\x02\x01\x01\x02\x01\x01"
_LARGEST = 2048  # bytes of a rebuilt certificate
_MOST = 16  # as many roots are considered for a server


def name_hash(name):
    """Four bytes by which a Name (DER) is found: issuer and subject are the same bytes (RFC 5280 section 4.1.2.6)."""
    return hashlib.sha256(name).digest()[:4]


def _number(data):
    return int.from_bytes(data, "big")


def _damaged(path, why):
    return RootletError("TLS_STORE", "'%s': %s" % (path, why))


class Store:
    """A root store on the file system, made by `rootlet certs store`.

    Args: path: its file.
    Attributes: count, version (text), build_time (Unix seconds).
    Raises: RootletError TLS_STORE where it is absent or damaged; so does every method.
    """

    def __init__(self, path):
        self.path = path
        head = self._guarded(self._head)
        if len(head) != HEADER or head[:8] != MAGIC:
            raise _damaged(path, "it is no root store")
        self.build_time = _number(head[8:16])
        self.version = bytes(c for c in head[16:32] if 0x20 < c < 0x7F).decode()
        self.count = _number(head[32:34])
        self._dictionary = _number(head[34:37])
        self.size = _number(head[37:40])
        self._guarded(self._matches, ())  # checks the index

    def _open(self):
        try:
            return open(self.path, "rb")
        except OSError:
            raise _damaged(self.path, "it is absent") from None

    def _guarded(self, function, *arguments):
        """Call a function that reads the file; a flash that cannot be read is a damaged store."""
        try:
            return function(*arguments)
        except OSError as e:
            raise _damaged(self.path, "it cannot be read, error %s" % e.args[0]) from None

    def _head(self):
        with self._open() as f:
            return f.read(HEADER)

    def check(self):
        """Check the whole file against its SHA-256. Returns the digest, 32 bytes."""
        return self._guarded(self._check)

    def _check(self):
        h = hashlib.sha256()
        piece = bytearray(512)
        with self._open() as f:
            head = f.read(HEADER)
            h.update(head[:48])
            n = f.readinto(piece)
            total = HEADER
            while n:
                total += n
                h.update(memoryview(piece)[:n])
                n = f.readinto(piece)
        if total != self.size or h.digest() != head[48:]:
            raise _damaged(self.path, "its SHA-256 is another")
        return head[48:]

    def _matches(self, wanted):
        """The index records of these hashes; the index is checked on the way."""
        found: list = []
        with self._open() as f:
            h = hashlib.sha256(f.read(40))
            digest = f.read(8)
            f.seek(HEADER)
            piece = bytearray(RECORD * 16)
            left = self.count * RECORD
            while left:
                if left < len(piece):
                    piece = bytearray(left)
                if f.readinto(piece) != len(piece):
                    raise _damaged(self.path, "it is cut off")
                h.update(piece)
                left -= len(piece)
                for name in wanted:
                    i = piece.find(name)
                    while i >= 0 and len(found) < _MOST:
                        if i % RECORD == 0:
                            found.append(bytes(piece[i : i + RECORD]))
                        i = piece.find(name, i + 1)
        if not h.digest().startswith(digest) or len(digest) != 8:
            raise _damaged(self.path, "its index does not match its checksum")
        return found

    def find(self, names):
        """The roots of the first of these names that the store has.

        Args: names: list of name_hash of issuers, as they stand in certificates.
        Returns (the name_hash, list of certificates in DER), or (None, []). Raises RootletError TLS_STORE.
        """
        found = self._guarded(self._matches, names)
        for name in names:
            roots = [self._rebuild(record) for record in found if record.startswith(name)]
            if roots:
                return name, roots
        return None, []

    def roots(self):
        """Every root of the store, rebuilt, one after the other."""
        for i in range(self.count):
            with self._open() as f:
                f.seek(HEADER + i * RECORD)
                record = f.read(RECORD)
            yield self._rebuild(record)

    def _rebuild(self, record):
        if len(record) != RECORD:
            raise _damaged(self.path, "it is cut off")
        at = _number(record[4:7])
        try:
            with self._open() as f:
                der = certificate(f, at, self._dictionary)
        except (ValueError, IndexError, OSError):
            raise _damaged(self.path, "the entry at %d cannot be read" % at) from None
        if not hashlib.sha256(der).digest().startswith(record[7:12]):
            raise _damaged(self.path, "the entry at %d does not match its checksum" % at)
        return der


def certificate(f, at, dictionary):
    """Rebuild one entry as a minimal v3 certificate, in one buffer.

    Args: f: the open store. at: offset of the entry. dictionary: offset of the dictionary.
    Returns a bytearray, DER. Raises ValueError, IndexError for what cannot be an entry.
    """
    f.seek(at)
    head = f.read(11)
    kind = head[0]
    size = head[8] << 8 | head[9]
    if size > _LARGEST:
        raise ValueError
    coded = f.read(head[10])
    signed = ECDSA_SIGNED if kind in (P256, P384, P521) else RSA_SIGNED
    whole = bytearray(size)
    out = memoryview(whole)
    tbs_end = _put(out, _put(out, size, SIGNATURE), signed)
    pos = _key(f, out, _put(out, tbs_end, IS_CA), kind)
    name_end = pos
    pos = _wrap(out, _subject(f, out, pos, coded, dictionary), pos, 0x30)
    pos = _put(out, _validity(out, pos, head), out[pos:name_end])
    pos = _wrap(out, _put(out, _put(out, pos, signed), HEAD), tbs_end, 0x30)
    if _wrap(out, pos, size, 0x30):
        raise ValueError
    return whole


def _put(out, end, part):
    """Write `part` so that it ends at `end`; returns where it begins."""
    pos = end - len(part)
    if pos < 0:
        raise ValueError
    out[pos:end] = part
    return pos


def _wrap(out, pos, end, tag):
    """Write tag and length before the content at pos to end; returns where they begin."""
    size = end - pos
    pos -= 2 if size < 128 else 3 if size < 256 else 4
    if pos < 0:
        raise ValueError
    out[pos] = tag
    if size < 128:
        out[pos + 1] = size
    elif size < 256:
        out[pos + 1] = 0x81
        out[pos + 2] = size
    else:
        out[pos + 1] = 0x82
        out[pos + 2] = size >> 8
        out[pos + 3] = size & 0xFF
    return pos


def _read(f, out, end, size):
    """Read `size` bytes of the file so that they end at `end`; returns where they begin."""
    pos = end - size
    if pos < 0 or f.readinto(out[pos:end]) != size:
        raise ValueError
    return pos


def _key(f, out, end, kind):
    """The SubjectPublicKeyInfo (RFC 3279 section 2.3.1, RFC 5480 section 2) of the bare key, read from the file."""
    if kind in (P256, P384, P521):
        return _put(out, _read(f, out, end, _EC_SIZE[kind]), EC[kind])
    size = _number(f.read(2))
    if kind == OTHER:
        return _read(f, out, end, size)
    if kind != RSA:
        raise ValueError
    stop = _put(out, end, EXPONENT)
    pos = _wrap(out, _put(out, _read(f, out, stop, size), b"\0"), stop, 2)
    pos = _put(out, _wrap(out, pos, end, 0x30), b"\0")
    return _wrap(out, _put(out, _wrap(out, pos, end, 3), RSA_ALGORITHM), end, 0x30)


def _validity(out, end, head):
    """The Validity, from 1970 to the date in the entry's head; UTCTime before 2050 (RFC 5280 section 4.1.2.5)."""
    pos = _put(out, end, b"Z")
    century = 2 if head[1] == 0x20 and head[2] < 0x50 else 1
    for i in range(7, century - 1, -1):
        pos -= 2
        out[pos] = 0x30 + (head[i] >> 4)
        out[pos + 1] = 0x30 + (head[i] & 15)
    pos = _wrap(out, pos, end, 0x17 if century == 2 else 0x18)
    return _wrap(out, _put(out, pos, BEGIN), end, 0x30)


def _subject(f, out, end, coded, dictionary):
    """The RDNs of a coded subject."""
    i = 0
    while i < len(coded):
        row = coded[i]
        size = coded[i + 1]
        i += 2
        if row & 0x80:
            f.seek(dictionary + ((row & 0x7F) << 8 | size))
            row, size = f.read(2)
            pos = _read(f, out, end, size)
        elif row:
            pos = _put(out, end, coded[i : i + size])
            i += size
        else:
            size = size << 8 | coded[i]
            end = _put(out, end, coded[i + 1 : i + 1 + size])
            i += 1 + size
            continue
        if end - pos != size or not 0 < row <= len(ATTRIBUTES) // 2:
            raise ValueError
        pos = _wrap(out, pos, end, ATTRIBUTES[2 * row - 1])
        pos = _put(out, pos, b"\x06\x03\x55\x04?")
        out[pos + 4] = ATTRIBUTES[2 * row - 2]
        end = _wrap(out, _wrap(out, pos, end, 0x30), end, 0x31)
    return end
