"""A certificate for each simulated device, kept from run to run."""

import time
from pathlib import Path

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.serialization import Encoding

from host_tools import ca
from host_tools.safe_write import PRIVATE, File, make_directory, write_all
from host_tools.x509_build import key_bytes

DAYS = 30
_RENEW_S = 10 * 86400  # a file older than that is made anew, long before its certificate ends
_BATCH = 100


def names(count: int, prefix: str) -> list[str]:
    """The ids of so many devices: prefix-0000, prefix-0001, …"""
    return [f"{prefix}-{i:04}" for i in range(count)]


def issue(authority: ca.Authority, wanted: list[str], folder: Path) -> dict[str, Path]:
    """A PEM file with certificate and key (mode 0600) for each device, below `folder`, one folder a CA.

    Those of an earlier run are used again. Returns name to file. Raises: Failure.
    """
    folder = folder / authority.cert.fingerprint(hashes.SHA256()).hex()[:16]
    make_directory(folder)
    files = {name: folder / f"{name}.pem" for name in wanted}
    absent = [name for name, path in files.items() if not _fresh(path)]
    batches = [absent[i : i + _BATCH] for i in range(0, len(absent), _BATCH)]
    for batch in batches:
        made = []
        for name in batch:
            cert, key = authority.sign_device(name, days=DAYS)
            text = cert.public_bytes(Encoding.PEM) + key_bytes(key, Encoding.PEM)
            made.append(File(files[name], text, PRIVATE))
        write_all(made, force=True, keep_backup=False)
    return files


def _fresh(path: Path) -> bool:
    try:
        return path.stat().st_mtime > time.time() - _RENEW_S
    except OSError:
        return False
