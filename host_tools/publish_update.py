"""Makes a remote update: the firmware's files by their SHA-256, and a signed list of them for each kind of board."""

import hashlib
import json
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from host_tools import deploy, mpy, safe_write, trees, update_keys
from host_tools.failure import Exit, Failure

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

LONGEST = 8192
"""Bytes of a list that a board reads."""


@dataclass(frozen=True)
class Release:
    """What was published for one kind of board. list: the signed list. files: how many; nbytes: their sum."""

    board: str
    version: int
    list: Path
    files: int
    nbytes: int


def build(
    board: str,
    folder: Path,
    key: "RSAPrivateKey",
    version: int | None = None,
    *,
    abi: str | None = None,
    downgrade: bool = False,
) -> Release:
    """Compile the firmware for a board and publish it, see publish()."""
    with tempfile.TemporaryDirectory(prefix="rootlet-") as temporary:
        abi = abi or mpy.newest()
        tree = deploy.stage(Path(temporary) / "tree", board=board, abi=abi)
        return publish(tree, [board], folder, key, version, abi=abi, downgrade=downgrade)


def publish(
    tree: Path,
    boards: Iterable[str],
    folder: Path,
    key: "RSAPrivateKey",
    version: int | None = None,
    *,
    abi: str,
    downgrade: bool = False,
) -> Release:
    """Write an update into a folder, which any web server can serve.

    Args:
        tree: a staged tree (deploy.stage); files that outlive a version, and those at the root, are left out.
        boards: ids of the boards that take it. folder: made if absent; files of other updates in it stay.
        version: greater than what runs on the boards; the time, in Unix seconds, if None.
        abi: the .mpy version. downgrade: boards whose configuration allows it take it over a newer version.
    Raises: Failure. The list is written last.
    """
    from rootlet import __version__, manifest
    from rootlet.errors import RootletError

    made = int(time.time())
    number = made if version is None else version
    outside = (*trees.ROOT_FILES, *trees.STATE)
    files: dict[str, list[int | str]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    ids = list(boards)
    for path in sorted(path for path in tree.rglob("*") if path.is_file()):
        name = path.relative_to(tree).as_posix()
        if name in outside:
            continue
        data = path.read_bytes()
        digest = hashlib.sha256(data).hexdigest()
        files[name] = [len(data), digest]
        _write(folder / digest, data)
    listing = {
        "format": 1, "version": number, "name": __version__, "board": ids, "made": made, "mpy": abi,
        "downgrade": downgrade, "files": files,
    }  # fmt: skip
    text = json.dumps(listing, separators=(",", ":")).encode()
    try:
        manifest.checked(text)
    except RootletError as e:
        because = f"the board would refuse it: {e.fact}"
        raise Failure("the update cannot be published", because, "see docs/updates.md", Exit.USAGE) from None
    if len(text) > LONGEST:
        raise Failure("the update has too many files", f"its list has {len(text)} bytes, a board reads {LONGEST}",
                      "fewer files, or shorter names")  # fmt: skip
    target = folder / list_name(ids[0], number)
    _write(target, update_keys.sign(key, text))
    return Release(ids[0], number, target, len(files), sum(int(size) for size, _ in files.values()))


def _write(path: Path, data: bytes) -> None:
    if not path.is_file() or path.read_bytes() != data:
        safe_write.write_all([safe_write.File(path, data)], force=True, keep_backup=False)


def routes(folder: Path) -> dict[str, bytes]:
    """What a web server serves of a folder: path to body. Progress files are left out."""
    wanted = [path for path in folder.iterdir() if path.suffix in ("", ".signed") and path.name[0] != "."]
    return {f"/{path.name}": path.read_bytes() for path in wanted if path.is_file()}


def list_name(board: str, version: int) -> str:
    """The file name of a signed list."""
    return f"manifest-{board}-{version}.signed"
