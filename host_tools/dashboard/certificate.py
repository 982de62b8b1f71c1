"""The server certificate of the page: as `rootlet broker` finds its own, and issued for `localhost` where absent."""

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509
from cryptography.exceptions import InvalidSignature

from host_tools import certinfo
from host_tools.ca import Authority
from host_tools.failure import Failure

LOCAL = "localhost"
_LOCAL_ADDRESSES = ("127.0.0.1", "::1")
_RENEW_S = 86400


@dataclass(frozen=True)
class ServerCertificate:
    """cert, key: PEM files. names: DNS names, then addresses, as browsers write them. ends: Unix s."""

    cert: Path
    key: Path
    names: tuple[str, ...]
    ends: float

    @property
    def day(self) -> str:
        """Its last day."""
        return datetime.fromtimestamp(self.ends, UTC).strftime("%Y-%m-%d")


def find(
    directory: Path, name: str, unlock: Callable[[Path], Authority], say: Callable[[str], None]
) -> ServerCertificate:
    """The certificate that the CA in a folder has issued for a server.

    One for LOCAL is issued where it is absent, of another CA, or ends within a day. unlock: opens the CA, only for
    that. say: takes what was made. Raises: Failure.
    """
    if not (directory / "ca.crt.pem").is_file():
        raise Failure("there is no CA yet", f"no {directory / 'ca.crt.pem'}", f"rootlet ca init --dir {directory}")
    cert, key = (directory / "issued" / f"server-{name}.{ending}.pem" for ending in ("crt", "key"))
    there = cert.is_file() and key.is_file()
    fit = there and _is_of(cert, directory)
    if name == LOCAL and (not fit or _read(cert, key).ends < time.time() + _RENEW_S):
        made = unlock(directory).issue_server([LOCAL], _LOCAL_ADDRESSES, force=cert.exists() or key.exists())
        say(f"issued a certificate for {LOCAL}: {made.cert_pem}")
        cert, key, there, fit = made.cert_pem, made.key_pem, True, True
    fix = f"rootlet ca issue server {name} --dir {directory}"
    if not there:
        raise Failure(f"there is no server certificate for {name}", f"no {cert}", fix)
    if not fit:
        because = f"{cert} was not signed by {directory / 'ca.crt.pem'}, which browsers are told to trust"
        raise Failure(f"the certificate of {name} is of another CA", because, f"{fix} --force")
    found = _read(cert, key)
    if found.ends < time.time():
        raise Failure(f"the certificate of {name} is over", f"{cert} ended {found.day}", f"{fix} --force")
    return found


def _is_of(cert: Path, directory: Path) -> bool:
    """Whether the CA now in the folder has signed it: `rootlet ca init --force` leaves what was issued before."""
    authority = certinfo.read_certificates(directory / "ca.crt.pem")[0]
    try:
        certinfo.read_certificates(cert)[0].verify_directly_issued_by(authority)
    except (ValueError, TypeError, InvalidSignature):
        return False
    return True


def _read(cert: Path, key: Path) -> ServerCertificate:
    found = certinfo.read_certificates(cert)[0]
    try:
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        raise Failure(f"{cert} names no server", "it has no SAN", "rootlet ca issue server NAME --force") from None
    dns = [name.lower() for name in names.get_values_for_type(x509.DNSName)]
    addresses = [str(address) for address in names.get_values_for_type(x509.IPAddress)]
    return ServerCertificate(cert, key, (*dns, *addresses), found.not_valid_after_utc.timestamp())
