"""Builds root stores: trust anchors (name, key, end date) for a board, indexed, in one file."""

import hashlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.types import PublicKeyTypes
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from host_tools import certinfo, certs
from host_tools.failure import Exit, Failure
from host_tools.safe_write import File, write_all
from rootlet import store
from rootlet.x509 import tlv

_KINDS = {"P-256": store.P256, "P-384": store.P384, "P-521": store.P521}
_ROWS = {bytes(store.ATTRIBUTES[i : i + 2]): i // 2 + 1 for i in range(0, len(store.ATTRIBUTES), 2)}
_LONGEST_VALUE = 100
_LARGEST_DICTIONARY = 0x7FFF
_TRIES = "rootlet certs store --root 'ISRG Root' --root 'GTS Root' -o build/roots.bin"


@dataclass(frozen=True)
class Anchor:
    """What a store keeps of a root: subject (DER of the Name), SubjectPublicKeyInfo (DER), end in Unix seconds."""

    subject: bytes
    spki: bytes
    not_after: int
    cert: x509.Certificate

    @property
    def title(self) -> str:
        """The subject, for people."""
        return certinfo.printable(self.cert.subject.rfc4514_string())


def _spki(key: PublicKeyTypes) -> bytes:
    return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def anchor(cert: x509.Certificate) -> Anchor:
    """What is kept of a certificate."""
    spki = _spki(cert.public_key())
    # The bytes as they stand in the certificate, which a board must see again.
    if spki not in cert.tbs_certificate_bytes:
        raise Failure(f"'{cert.subject.rfc4514_string()}' cannot be a root", "its public key is not DER", "another CA")
    return Anchor(cert.subject.public_bytes(), spki, int(cert.not_valid_after_utc.timestamp()), cert)


def _rdns(subject: bytes) -> list[bytes]:
    _, pos, end = tlv(subject, 0, len(subject))
    out = []
    while pos < end:
        _, _, stop = tlv(subject, pos, end)
        out.append(subject[pos:stop])
        pos = stop
    return out


def _row(rdn: bytes) -> bytes | None:
    """The short form of an RDN with one attribute under 2.5.4, or None."""
    _, start, stop = tlv(rdn, 0, len(rdn))
    _, first, last = tlv(rdn, start, stop)
    _, oid, oid_end = tlv(rdn, first, last)
    tag, value, end = tlv(rdn, oid_end, last)
    number = _ROWS.get(rdn[oid_end - 1 : oid_end] + bytes([tag]))
    if last != stop or end != last or rdn[oid:oid_end][:-1] != b"\x55\x04" or number is None:
        return None
    size = end - value
    return bytes([number, size]) + rdn[value:end] if size <= _LONGEST_VALUE else None


def _coded(rdn: bytes, dictionary: dict[bytes, int]) -> bytes:
    if rdn in dictionary:
        return (0x8000 | dictionary[rdn]).to_bytes(2, "big")
    return _row(rdn) or b"\0" + len(rdn).to_bytes(2, "big") + rdn


def _key(cert: x509.Certificate, spki: bytes) -> tuple[int, bytes]:
    """The kind of key and what is stored of it; whole where the short form would not give the same bytes again."""
    key = cert.public_key()
    kind, bare = store.OTHER, spki
    if isinstance(key, rsa.RSAPublicKey):
        modulus = key.public_numbers().n
        usual = rsa.RSAPublicNumbers(65537, modulus).public_key()
        if key.key_size % 8 == 0 and _spki(usual) == spki:
            kind, bare = store.RSA, modulus.to_bytes(key.key_size // 8, "big")
    elif isinstance(key, ec.EllipticCurvePublicKey):
        name = _KINDS[certinfo.key_name(key)]
        point = key.public_bytes(Encoding.X962, PublicFormat.UncompressedPoint)[1:]
        if store.EC[name] + point == spki:
            kind, bare = name, point
    sized = len(bare).to_bytes(2, "big") if kind in (store.RSA, store.OTHER) else b""
    return kind, sized + bare


def _with_header(size: int) -> int:
    return size + (2 if size < 128 else 3 if size < 256 else 4)


def _certificate_size(a: Anchor) -> int:
    """Bytes of the certificate that a board will rebuild."""
    until = 15 if _end(a) < "2050" else 17
    signed = len(store.RSA_SIGNED if _key(a.cert, a.spki)[0] in (store.RSA, store.OTHER) else store.ECDSA_SIGNED)
    tbs = len(store.HEAD) + signed + 2 * len(a.subject) + 2 + len(store.BEGIN) + until + len(a.spki) + len(store.IS_CA)
    return _with_header(_with_header(tbs) + signed + len(store.SIGNATURE))


def _end(a: Anchor) -> str:
    return f"{a.cert.not_valid_after_utc:%Y%m%d%H%M%S}".rjust(14, "0")


def build(anchors: Iterable[Anchor], version: str, build_time: int) -> bytes:
    """The bytes of a store (see firmware/rootlet/store.py for its layout).

    Args:
        anchors: repeats are dropped. version: up to 16 characters of ASCII. build_time: Unix seconds.
    Raises: Failure where there is nothing to store or a name cannot be stored.
    """
    kept = sorted({(a.subject, a.spki): a for a in anchors}.values(), key=lambda a: (a.subject, a.spki))
    if not kept:
        raise Failure("the root store would be empty", "no root was chosen", _TRIES, Exit.USAGE)
    counts = Counter(rdn for a in kept for rdn in _rdns(a.subject))
    dictionary: dict[bytes, int] = {}
    words = b""
    for rdn, count in sorted(counts.items()):
        row = _row(rdn)
        if count > 1 and row and len(words) <= _LARGEST_DICTIONARY:
            dictionary[rdn] = len(words)
            words += row
    at = store.HEADER + len(kept) * store.RECORD + len(words)
    entries = b""
    records = []
    for a in kept:
        coded = b"".join(_coded(rdn, dictionary) for rdn in reversed(_rdns(a.subject)))
        kind, key = _key(a.cert, a.spki)
        if len(coded) > 255:
            raise Failure(f"'{a.title[:60]}' cannot be stored", "its name is too long", "leave it out by --deny")
        records.append(store.name_hash(a.subject) + (at + len(entries)).to_bytes(3, "big"))
        size = _certificate_size(a).to_bytes(2, "big")
        entries += bytes([kind]) + bytes.fromhex(_end(a)) + size + bytes([len(coded)]) + coded + key
    total = at + len(entries)
    head = store.MAGIC + build_time.to_bytes(8, "big") + version.encode("ascii", "replace")[:16].ljust(16, b"\0")
    head += len(kept).to_bytes(2, "big") + (at - len(words)).to_bytes(3, "big") + total.to_bytes(3, "big")
    return _sealed(head, records, words + entries, kept)


def _sealed(head: bytes, records: list[bytes], rest: bytes, kept: list[Anchor]) -> bytes:
    """Head, index with its checksums, and the rest, with the digests over them."""
    import io

    blank = bytes(store.HEADER + store.RECORD * len(records)) + rest
    dictionary = int.from_bytes(head[34:37], "big")
    rows = []
    for record, a in zip(records, kept, strict=True):
        der = bytes(store.certificate(io.BytesIO(blank), int.from_bytes(record[4:7], "big"), dictionary))
        rows.append(record + hashlib.sha256(der).digest()[:5])
        made = x509.load_der_x509_certificate(der)
        if (made.subject.public_bytes(), _spki(made.public_key())) != (a.subject, a.spki):
            raise Failure(f"'{a.title}' cannot be stored", "it would not come back the same", "leave it out by --deny")
    index = b"".join(sorted(rows))
    head += hashlib.sha256(head + index).digest()[:8]
    return head + hashlib.sha256(head + index + rest).digest() + index + rest


def usable(found: Iterable[x509.Certificate], source: Path, build_time: int) -> tuple[list[Anchor], list[str]]:
    """Those that a board can use as roots, and a line for each that it cannot."""
    good, left = [], []
    for cert in found:
        try:
            certs.check_root(cert, source, build_time)
            good.append(anchor(cert))
        except Failure as e:
            left.append(f"{e.what}: {e.because}")
    return good, left


def matches(a: Anchor, text: str) -> bool:
    """Whether a root is meant by a text: the beginning of its SHA-256 (8 digits or more), or a part of its subject."""
    low = text.lower().replace(":", "")
    return (len(low) >= 8 and certinfo.sha256(a.cert).startswith(low)) or text.lower() in a.title.lower()


def _organisation(cert: x509.Certificate) -> str:
    found = cert.subject.get_attributes_for_oid(x509.NameOID.ORGANIZATION_NAME)
    return str(found[0].value) if found else ""


def with_successors(chosen: list[Anchor], everything: list[Anchor]) -> list[Anchor]:
    """The chosen roots, then the other roots of their owners, the longest-lived first: where those will move to."""
    owners = {_organisation(a.cert) for a in chosen} - {""}
    others = [a for a in everything if a not in chosen and _organisation(a.cert) in owners]
    return [*chosen, *sorted(others, key=lambda a: (-a.not_after, a.subject))]


def fit(wanted: list[Anchor], max_bytes: int, needed: int, version: str, build_time: int) -> list[Anchor]:
    """As many of the wanted roots, in their order, as fit; the first `needed` must. Raises Failure."""
    kept: list[Anchor] = []
    for a in wanted:
        size = len(build([*kept, a], version, build_time))
        if size <= max_bytes:
            kept.append(a)
        elif len(kept) < needed:
            raise Failure(
                f"the roots do not fit into {max_bytes} bytes",
                f"with '{a.title}' it is {size} bytes",
                f"--max-bytes {size}, or fewer roots",
                Exit.USAGE,
            )
    return kept


def write(data: bytes, out: Path) -> None:
    """Write a store, over an earlier one but over nothing else. Raises Failure."""
    if out.exists() and out.read_bytes()[:8] != store.MAGIC:
        raise Failure(f"{out} exists already", "it is no root store", "another file name for -o", Exit.USAGE)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as e:
        raise Failure(f"cannot make {out.parent}", e.strerror or str(e), f"ls -ld {out.parent}") from None
    write_all([File(out, data)], force=True, keep_backup=False)
