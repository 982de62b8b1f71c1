"""From the certificates a server sent to the path a board would build, and the verdict of our policy on it."""

import ast
import warnings
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

from cryptography import x509 as cx509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import AuthorityInformationAccessOID

from host_tools import certinfo
from host_tools.failure import Failure
from rootlet import policy, x509
from rootlet.errors import RootletError
from rootlet.judge import Judge
from rootlet.trust import Trust


@dataclass
class Link:
    """One certificate: as DER, as our reader has it (None where it cannot read it) and as `cryptography` has it."""

    der: bytes
    cert: Any
    full: cx509.Certificate | None
    place: int = -1  # where the server sent it; -1 for a root of the store

    @property
    def label(self) -> str:
        """Its name for people."""
        return x509.label(self.cert.subject) if self.cert else "(unreadable)"


@dataclass
class Built:
    """The path from leaf to top; `root` is its last link where a trusted root ends it."""

    path: list[Link]
    root: Link | None
    extra: list[Link] = field(default_factory=list)
    disordered: bool = False


def link(der: bytes, place: int = -1) -> Link:
    """Read a certificate by both readers; what cannot be read is None."""
    try:
        cert = x509.parse(der)
        x509.label(cert.subject), x509.label(cert.issuer)
    except x509.Malformed:
        cert = None
    try:
        with warnings.catch_warnings():
            # Old roots have a serial number of zero; as a trust anchor that does no harm.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            full = cx509.load_der_x509_certificate(der)
        full.subject, full.issuer, full.not_valid_after_utc  # noqa: B018  # read lazily, and may be unreadable
    except Exception:
        full = None
    return Link(der, cert, full, place)


@lru_cache(maxsize=4)
def _bundle(path: str) -> tuple[Link, ...]:
    return tuple(link(certinfo.der(cert)) for cert in certinfo.read_certificates(Path(path)))


def store(ca: Path | None) -> list[Link]:
    """The trust anchors: of a PEM, DER or cert module (.py) file, else certifi's. Raises Failure."""
    if ca is None:
        import certifi

        return list(_bundle(certifi.where()))
    if ca.suffix == ".py":
        return [link(der) for der in _module_roots(ca)]
    return [link(certinfo.der(cert)) for cert in certinfo.read_certificates(ca)]


def _module_roots(path: Path) -> list[bytes]:
    """The roots of a cert module, read as data: it is not run. Raises Failure."""
    try:
        with path.open("rb") as stream:
            source = stream.read(certinfo.MAX_BYTES)
    except OSError as error:
        raise Failure(f"cannot read {path}", error.strerror or str(error), f"ls -l {path}") from None
    try:
        for node in ast.parse(source).body:
            if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "ROOTS":
                return [bytes(row[3]) for row in ast.literal_eval(node.value)]
    except (ValueError, SyntaxError, TypeError, IndexError, MemoryError, RecursionError):
        pass
    raise Failure(f"{path} is no cert module", "it has no ROOTS as `rootlet certs embed` writes them",
                  f"rootlet certs embed CA_FILE -o {path}")  # fmt: skip


def signed_by(child: Link, parent: Link) -> bool:
    """Whether the parent's name and key fit the child's issuer and signature."""
    if child.full is None or parent.full is None:
        return False
    if child.cert and parent.cert and child.cert.issuer != parent.cert.subject:
        return False
    try:
        child.full.verify_directly_issued_by(parent.full)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def build(sent: list[bytes], roots: list[Link]) -> Built:
    """The path as Mbed TLS builds it: a trusted issuer first, else one that was sent later than what it signed."""
    links = [link(der, i) for i, der in enumerate(sent)]
    path, root, disordered = links[:1], None, False
    while path and len(path) < 10:
        child = path[-1]
        root = next((r for r in roots if signed_by(child, r)), None)
        if root:
            path.append(root)
            break
        later = [c for c in links[child.place + 1 :] if signed_by(child, c)]
        if not later:
            earlier = [c for c in links[1 : max(child.place, 1)] if c not in path and signed_by(child, c)]
            disordered = bool(earlier)
            break
        disordered = disordered or later[0].place != child.place + 1
        path.append(later[0])
    extra = [c for c in links if c not in path and not (root and c.der == root.der)]
    return Built(path, root, extra, disordered)


def judge(built: Built, roots: list[Link], host: str, now: int) -> RootletError | None:
    """What a board would say to this chain, in its own words: its judge is given the path as Mbed TLS gives it.

    Args: host: the name that is asked for. now: Unix seconds.
    """
    if not built.path:
        return RootletError("CERT_MALFORMED", "the server sent no certificate")
    # A name is looked for in the whole store only where no root was found.
    known = [built.root] if built.root else [root for root in roots if root.cert]
    verdict = Judge(host, Trust([root.der for root in known], None), now)
    for depth in range(len(built.path) - 1, -1, -1):
        if verdict(built.path[depth].der, depth):
            fault: RootletError = verdict.fault
            return fault
    if built.root:
        return None
    why: RootletError = verdict.untrusted()
    if built.disordered and why.code != "CERT_SELF_SIGNED":
        issuer = x509.label(built.path[-1].cert.issuer)
        return RootletError("CERT_UNKNOWN_CA", f"the issuer is '{issuer}', which was sent before what it signed",
                            "make the server send its certificates in order: leaf, then each issuer")  # fmt: skip
    return why


def peer_name(leaf: Link | None, host: str) -> tuple[bool, str]:
    """Whether the leaf names the host, and by which name, or why not."""
    if leaf is None or leaf.cert is None:
        return False, "no readable certificate"
    try:
        policy.check_name(leaf.cert, leaf.der, host)
    except RootletError as why:
        return False, why.fact
    for tag, start, stop in x509.alt_names(leaf.der, leaf.cert):
        pattern = x509.text(leaf.der, start, stop)
        if tag == x509.DNS_NAME and policy.name_matches(pattern, host):
            return True, pattern
    return True, host


def issuer_url(item: Link) -> str | None:
    """Where the issuer's certificate is published (caIssuers, RFC 5280 section 4.2.2.1), or None."""
    if item.full is None:
        return None
    try:
        access = item.full.extensions.get_extension_for_class(cx509.AuthorityInformationAccess).value
    except Exception:
        return None
    for entry in access:
        place = entry.access_location
        if entry.access_method == AuthorityInformationAccessOID.CA_ISSUERS and isinstance(
            place, cx509.UniformResourceIdentifier
        ):
            return certinfo.printable(place.value)[:200]
    return None


def facts(item: Link, role: str, now: int) -> dict[str, Any]:
    """What there is to say of one certificate, ready for JSON."""
    if item.full is None or item.cert is None:
        return {"role": role, "sent": item.place, "subject": "(unreadable)", "der_bytes": len(item.der)}
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            told = certinfo.describe(item.full)
    except Exception:
        return {"role": role, "sent": item.place, "subject": item.label, "der_bytes": len(item.der)}
    return {
        "role": role,
        "sent": item.place,
        "label": item.label,
        "signature": item.cert.signature,
        "days_left": (item.cert.not_after - now) // 86400,
        "issuer_url": issuer_url(item),
        **told,
    }
