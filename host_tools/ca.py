"""A private certificate authority in a directory: makes the root, server and device certificates."""

import hashlib
import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, load_pem_private_key
from cryptography.x509.oid import ExtendedKeyUsageOID

from host_tools import certinfo, former, handshakes, x509_names
from host_tools.failure import Exit, Failure
from host_tools.safe_write import CA_PRIVATE, PRIVATE, File, make_directory, write_all
from host_tools.x509_build import (
    HostKey,
    Life,
    PrivateKey,
    builder,
    day,
    key_bytes,
    key_usage,
    new_host_key,
    new_key,
    protection_by,
    signature_hash,
)

DEFAULT_DIRECTORY = Path("ca-data")
DEFAULT_SUBJECT = "/O=Rootlet/CN=Rootlet private CA"
CA_DAYS = 3650
SERVER_DAYS = 397
DEVICE_DAYS = 825
CRL_FILE = "ca.crl.pem"
_PROFILE_FILE = "profile.json"


@dataclass(frozen=True)
class Issued:
    """A certificate that was made: `kind` is "server", "node" or "device"; `notes` say what a person should know.

    `cert` is the certificate itself, of `name`; `cert_pem`, `cert_der`, `key_pem`, `key_der` are the files.
    """

    kind: str
    name: str
    cert: x509.Certificate
    cert_pem: Path
    cert_der: Path
    key_pem: Path
    key_der: Path
    notes: tuple[str, ...] = ()

    def facts(self) -> dict[str, Any]:
        """What `certinfo.describe` says, with the files."""
        return _issued_facts(self.kind, self.name, self.cert, self.cert_pem, self.key_der)


@dataclass(frozen=True)
class Authority:
    """A CA that can issue: made by `init` or `load`.

    `directory`, `cert`, `key` and `profile` are what it was made with.
    """

    directory: Path
    cert: x509.Certificate
    key: PrivateKey = field(repr=False)
    profile: str = handshakes.DEFAULT

    @property
    def cert_pem(self) -> Path:
        """The CA certificate as PEM."""
        return self.directory / "ca.crt.pem"

    @property
    def cert_der(self) -> Path:
        """The CA certificate as DER."""
        return self.directory / "ca.crt.der"

    def issue_server(
        self,
        names: Iterable[str],
        ips: Iterable[str] = (),
        *,
        days: int | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        key_type: str | None = None,
        host_only: bool = False,
        force: bool = False,
    ) -> Issued:
        """A serverAuth certificate for host names and IP addresses; the first name is also its CN and file name.

        Args:
            names: host names; international ones become A-labels; `*.` may stand for one label. ips: IP addresses.
            days: life from now; by default SERVER_DAYS, or as long as the CA lives.
            not_before, not_after: exact dates (UTC where naive) in place of `days`.
            key_type: see x509_build.KEY_TYPES; None takes what the CA's profile says.
            host_only: no board connects to this server, so that x509_build.HOST_KEY_TYPES may be used too.
            force: replace one of the same name; the old files stay as .bak.
        Raises: Failure.
        """
        san = x509_names.server_names(names, ips)
        life = Life(days, not_before, not_after, SERVER_DAYS)
        use = (ExtendedKeyUsageOID.SERVER_AUTH,)
        kind = handshakes.PROFILES[self.profile].server if key_type is None else key_type
        key = new_host_key(kind) if host_only else new_key(kind)
        return self._issue("server", str(san[0].value), san, use=use, life=life, key=key, force=force)

    def issue_node(
        self, names: Iterable[str], ips: Iterable[str] = (), *, days: int | None = None, force: bool = False
    ) -> Issued:
        """A certificate for one machine of a cluster: serverAuth, and clientAuth for the other machines it calls.

        Args: names, ips, days, force: as for issue_server. Brokers must not take it for a device's: its name is on no
        list of devices.
        Raises: Failure.
        """
        san = x509_names.server_names(names, ips)
        life = Life(days, None, None, SERVER_DAYS)
        key = new_key(handshakes.PROFILES[self.profile].server)
        use = (ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.CLIENT_AUTH)
        return self._issue("node", str(san[0].value), san, use=use, life=life, key=key, force=force)

    def issue_device(
        self,
        device_id: str,
        *,
        days: int | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
        key_type: str | None = None,
        force: bool = False,
    ) -> Issued:
        """A clientAuth certificate with CN=device_id, for mutual TLS.

        Args: days, not_before, not_after, key_type, force: as for issue_server. Raises: Failure.
        """
        life = Life(days, not_before, not_after, DEVICE_DAYS)
        key = new_key(handshakes.PROFILES[self.profile].device if key_type is None else key_type)
        san = [x509_names.device_name(device_id)]
        use = (ExtendedKeyUsageOID.CLIENT_AUTH,)
        return self._issue("device", device_id, san, use=use, life=life, key=key, force=force)

    def sign_device(
        self,
        device_id: str,
        *,
        days: int | None = None,
        not_before: datetime | None = None,
        not_after: datetime | None = None,
    ) -> tuple[x509.Certificate, PrivateKey]:
        """As issue_device, but nothing is written: the certificate and its key.

        Args: device_id, days, not_before, not_after: as for issue_device. Raises: Failure.
        """
        key = new_key(handshakes.PROFILES[self.profile].device)
        life = Life(days, not_before, not_after, DEVICE_DAYS)
        san = [x509_names.device_name(device_id)]
        cert, _ = self._sign(device_id, san, use=(ExtendedKeyUsageOID.CLIENT_AUTH,), life=life, key=key)
        return cert, key

    def _issue(
        self,
        kind: str,
        name: str,
        san: list[x509.GeneralName],
        *,
        use: tuple[x509.ObjectIdentifier, ...],
        life: Life,
        key: PrivateKey | HostKey,
        force: bool,
    ) -> Issued:
        cert, notes = self._sign(name, san, use=use, life=life, key=key)
        folder = self.directory / "issued"
        make_directory(folder)
        stem = f"{kind}-{_file_name(name)}"
        crt_pem, crt_der, key_pem, key_der = (
            folder / f"{stem}.{ending}" for ending in ("crt.pem", "crt.der", "key.pem", "key.der")
        )
        files = [
            File(key_pem, key_bytes(key, Encoding.PEM), PRIVATE),
            File(key_der, key_bytes(key, Encoding.DER), PRIVATE),
            File(crt_pem, cert.public_bytes(Encoding.PEM)),
            File(crt_der, certinfo.der(cert)),
        ]
        write_all([*(former.kept(crt_pem) if force else ()), *files], force=force)
        return Issued(kind, name, cert, crt_pem, crt_der, key_pem, key_der, tuple(notes))

    def _sign(
        self,
        name: str,
        san: list[x509.GeneralName],
        *,
        use: tuple[x509.ObjectIdentifier, ...],
        life: Life,
        key: PrivateKey | HostKey,
    ) -> tuple[x509.Certificate, list[str]]:
        start, end, notes = _span(life, self.profile, self.cert)
        # A name too long for a CN (RFC 5280 ub-common-name) stands in the SAN alone, which is critical then.
        subject = x509_names.common_name(name) if len(name) <= 64 else x509.Name([])
        ski = self.cert.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        cert = (
            builder(subject, self.cert.subject, key, start, end)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            # Without keyEncipherment no TLS suite without forward secrecy can use this key.
            .add_extension(key_usage(ca=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(use), critical=False)
            .add_extension(x509.SubjectAlternativeName(san), critical=not list(subject))
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(ski), critical=False)
            .sign(self.key, signature_hash(self.key))
        )
        return cert, notes


def init(
    directory: Path = DEFAULT_DIRECTORY,
    *,
    subject: str = DEFAULT_SUBJECT,
    profile: str = handshakes.DEFAULT,
    key_type: str | None = None,
    passphrase: str | None = None,
    days: int | None = None,
    not_before: datetime | None = None,
    not_after: datetime | None = None,
    force: bool = False,
) -> Authority:
    """Make a CA: a self-signed certificate and its key.

    Args:
        directory: where; made if absent, for its owner only.
        subject: openssl's slash form, such as `/C=FR/O=Acme/CN=Acme root`.
        profile: see handshakes.PROFILES; it is remembered, and says which keys are issued later.
        key_type: of the CA, in place of the profile's; see x509_build.KEY_TYPES.
        passphrase: encrypts the key file (PKCS #8, AES-256); None leaves it in the clear.
        days: life from now, by default CA_DAYS; or exact dates by not_before and not_after.
        force: replace a CA that is there; the old files stay as .bak.
    Raises: Failure.
    """
    name = x509_names.parse_subject(subject)
    kinds = _profile(profile)
    start, end, _ = _span(Life(days, not_before, not_after, CA_DAYS), profile)
    protection = protection_by(passphrase)
    key = new_key(kinds.ca if key_type is None else key_type)
    # No name constraints, ever: Mbed TLS refuses to load a CA that has them.
    cert = (
        builder(name, name, key, start, end)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .add_extension(key_usage(ca=True), critical=True)
        .sign(key, signature_hash(key))
    )
    make_directory(directory)
    files = [
        File(directory / "ca.key.pem", key_bytes(key, Encoding.PEM, protection), CA_PRIVATE),
        File(directory / "ca.crt.pem", cert.public_bytes(Encoding.PEM)),
        File(directory / "ca.crt.der", certinfo.der(cert)),
        File(directory / _PROFILE_FILE, json.dumps({"profile": profile}).encode() + b"\n"),
    ]
    write_all(files, force=force)
    if (directory / CRL_FILE).exists():
        # Of the CA before: with a list of another CA every client is refused.
        os.replace(directory / CRL_FILE, directory / f"{CRL_FILE}.bak")
    return Authority(directory, cert, key, profile)


def profile_of(directory: Path) -> str:
    """The profile a CA was made with; one made before there were profiles has the default one. Raises Failure."""
    path = directory / _PROFILE_FILE
    try:
        with path.open("rb") as stream:
            found = json.loads(stream.read(4096))["profile"]
    except FileNotFoundError:
        return handshakes.DEFAULT
    except (OSError, ValueError, KeyError, TypeError):
        found = None
    if found not in list(handshakes.PROFILES):
        because = f"it is not one of {', '.join(handshakes.PROFILES)}"
        raise Failure(f"{path} is damaged", because, f'write {{"profile": "{handshakes.DEFAULT}"}} into {path}')
    return str(found)


def _profile(name: str) -> handshakes.Profile:
    if name not in handshakes.PROFILES:
        names = " or ".join(handshakes.PROFILES)
        raise Failure(f"there is no profile {name[:40]!r}", f"it is {names}", "--profile strong", Exit.USAGE)
    return handshakes.PROFILES[name]


def _span(life: Life, profile: str, ca: x509.Certificate | None = None) -> tuple[datetime, datetime, list[str]]:
    """Start, end and notes, held to the CA's end and the profile's last day: a default is shortened, else refused."""
    last_day = _profile(profile).last_day
    start, end = life.span()
    last = datetime.combine(date.fromisoformat(last_day), time(23, 59, 59), UTC) if last_day else end
    if end > last and (life.days is not None or life.not_after is not None or start >= last):
        raise Failure(
            "the certificate's dates cannot be used",
            f"it would end {day(end)}; with profile {profile} (RSA-2048) nothing may end after {last_day}",
            f"--not-after {last_day}, or a CA with --profile strong",
            Exit.USAGE,
        )
    notes: list[str] = []
    if ca is not None:
        start, end, notes = life.within(ca)
    return start, min(end, last), notes


def is_encrypted(directory: Path) -> bool:
    """Whether the CA's key needs a passphrase. Raises Failure where there is no CA."""
    return b"ENCRYPTED" in _read_key(directory)


def load(directory: Path = DEFAULT_DIRECTORY, passphrase: str | None = None) -> Authority:
    """Open a CA for issuing.

    Args: directory: where `init` made it. passphrase: for an encrypted key; ignored for one in the clear.
    Raises: Failure where there is no CA, the passphrase is absent or wrong, or key and certificate do not match.
    """
    data = _read_key(directory)
    encrypted = b"ENCRYPTED" in data
    key_file = directory / "ca.key.pem"
    if encrypted and not passphrase:
        raise Failure(
            f"{key_file} is encrypted", "no passphrase was given", "--passphrase-file FILE, or ROOTLET_CA_PASSPHRASE",
            Exit.USAGE,
        )  # fmt: skip
    try:
        key = load_pem_private_key(data, passphrase.encode() if encrypted and passphrase else None)
    except (ValueError, TypeError):
        because = "the passphrase is wrong" if encrypted else "it is not a PEM private key"
        raise Failure(f"cannot open {key_file}", because, "the right passphrase, or the key's backup") from None
    cert = ca_certificate(directory)
    if not isinstance(key, PrivateKey) or key.public_key() != cert.public_key():
        raise Failure(
            f"{directory} is not one CA", "ca.key.pem does not belong to ca.crt.pem", "restore both from one backup"
        )
    return Authority(directory, cert, key, profile_of(directory))


def ca_certificate(directory: Path) -> x509.Certificate:
    """The CA's certificate; needs no key. Args: directory: of the CA. Raises Failure where there is none."""
    path = directory / "ca.crt.pem"
    if not path.exists():
        raise _no_ca(directory)
    return certinfo.read_certificates(path)[0]


def entries(directory: Path = DEFAULT_DIRECTORY) -> list[dict[str, Any]]:
    """Facts of the CA's certificate and of all it issued, as `certinfo.describe` gives them."""
    found = [_issued_facts("ca", "ca", ca_certificate(directory), directory / "ca.crt.pem", None)]
    for path in sorted((directory / "issued").glob("*.crt.pem")):
        stem = path.name.removesuffix(".crt.pem")
        kind, _, name = stem.partition("-")
        cert = certinfo.read_certificates(path)[0]
        found.append(_issued_facts(kind, name, cert, path, path.with_name(f"{stem}.key.der")))
    return found


def combinations(facts: dict[str, Any], directory: Path) -> handshakes.Combinations:
    """Which handshakes on a board a certificate takes part in, for handshakes.lines and handshakes.figures.

    Args: facts: as `find` gives them, or Issued.facts. directory: the CA, if it is that one's.
    """
    kind = facts.get("kind") or ("ca" if facts["ca"] else "server" if "serverAuth" in facts["uses"] else "device")
    kind = "server" if kind == "node" else kind  # to a board it is one
    try:
        cert, profile = ca_certificate(directory), profile_of(directory)
    except Failure:
        return handshakes.combinations("ca", None, None)
    ca_key = handshakes.kind_of(certinfo.cert_key_name(cert))
    if facts["issuer"] != cert.subject.rfc4514_string():
        return handshakes.combinations("ca", None, None)
    return handshakes.combinations(kind, handshakes.kind_of(facts["key"]), ca_key, profile)


def find(what: str, directory: Path = DEFAULT_DIRECTORY) -> list[dict[str, Any]]:
    """Facts of the certificates in a file, or of the one issued under a name ("ca" is the CA itself).

    Args: what: a file, a name or an id. directory: of the CA.
    Raises: Failure where nothing or more than one thing has that name.
    """
    path = Path(what)
    if path.is_file():
        return [{"file": str(path), **certinfo.describe(cert)} for cert in certinfo.read_certificates(path)]
    wanted = _file_name(what)
    known = entries(directory)
    hits = [e for e in known if wanted in (e["name"], f"{e['kind']}-{e['name']}")]
    if len(hits) == 1:
        return hits
    names = ", ".join(e["name"] if e["kind"] == "ca" else f"{e['kind']}-{e['name']}" for e in hits or known)
    if hits:
        raise Failure(f"'{what}' is more than one", f"there are {names}", f"rootlet ca show {names.split(', ')[0]}",
                      Exit.USAGE)  # fmt: skip
    raise Failure(f"there is no certificate '{what}'", f"no such file, and {directory} has {names}",
                  "rootlet ca list", Exit.USAGE)  # fmt: skip


def _issued_facts(kind: str, name: str, cert: x509.Certificate, path: Path, key_der: Path | None) -> dict[str, Any]:
    facts = {"kind": kind, "name": name, "file": str(path), **certinfo.describe(cert)}
    if key_der is not None and key_der.exists():
        facts["key_der_bytes"] = key_der.stat().st_size
    return facts


def _file_name(name: str) -> str:
    safe = name.replace("*", "_wildcard").replace(":", "-")
    if len(safe) > 200:  # file systems stop at 255, and `.crt.pem.bak` has to fit too
        safe = f"{safe[:180]}-{hashlib.sha256(safe.encode()).hexdigest()[:16]}"
    return safe


def _read_key(directory: Path) -> bytes:
    path = directory / "ca.key.pem"
    try:
        with path.open("rb") as stream:
            return stream.read(65536)
    except FileNotFoundError:
        raise _no_ca(directory) from None
    except OSError as error:
        raise Failure(f"cannot read {path}", error.strerror or str(error), f"ls -l {path}") from None


def _no_ca(directory: Path) -> Failure:
    return Failure(
        f"there is no CA in {directory}",
        "ca.key.pem or ca.crt.pem is absent",
        f"rootlet ca init --dir {directory}",
    )
