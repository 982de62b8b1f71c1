"""What the groups have in common: a CA with a server and a device, and the board's files for them."""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_tools import ca, certs
from host_tools.bench.place import Place


@dataclass(frozen=True)
class Parties:
    """A CA, a server under the name by which the board calls this machine, and a device."""

    authority: ca.Authority
    server: ca.Issued
    device: ca.Issued
    files: dict[str, Path | bytes]  # for the board: trust_roots.mpy, device.crt.der, device.key.der


def parties(place: Place, folder: Path, key_type: str = "p256", device: str = "bench") -> Parties:
    """Make them in a folder. Args: key_type: of x509_build.KEY_TYPES, for all of them."""
    authority = ca.init(folder / "ca", subject="/CN=Bench CA", key_type=key_type)
    server = authority.issue_server([place.address], key_type=key_type)
    issued = authority.issue_device(device, key_type=key_type)
    roots = certs.embed([authority.cert_pem], folder / "trust_roots.py")
    files: dict[str, Path | bytes] = {
        "trust_roots.mpy": roots.compiled,
        "device.crt.der": issued.cert_der,
        "device.key.der": issued.key_der,
    }
    return Parties(authority, server, issued, files)


def job(place: Place, port: int, **more: Any) -> dict[str, Any]:
    """What every script is told: host, port and now (Unix seconds), and more."""
    return {"host": place.address, "port": port, "now": int(time.time())} | more
