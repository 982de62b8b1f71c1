"""One image for production: MicroPython, and a LittleFS file system that holds a given tree, at the right place."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from host_tools import esp_image, uf2
from host_tools.boards import Board
from host_tools.failure import Exit, Failure

_NAME_BYTES = 255
_MAX_FILES = 2000
# Readable by every MicroPython that Rootlet supports; newer drivers raise it themselves at their first write.
_DISK_VERSION = 0x00020000
_READ_BYTES = 32
_LOOKAHEAD_BYTES = 32


def _library() -> Any:
    try:
        import littlefs
    except ImportError:
        raise Failure(
            "file system images need littlefs-python", "it is not installed", "pip install 'rootlet[flash]'"
        ) from None
    return littlefs


def _parameters(board: Board, block_count: int) -> dict[str, int]:
    """What MicroPython's driver is set to (extmod/vfs_lfsx.c): the cache bounds what is kept inline in a folder."""
    program = board["image"]["prog_bytes"]
    return {
        "block_size": board["image"]["block_bytes"],
        "block_count": block_count,
        "read_size": _READ_BYTES,
        "prog_size": program,
        "cache_size": 4 * max(_READ_BYTES, program),
        "lookahead_size": _LOOKAHEAD_BYTES,
        "block_cycles": 100,
        "name_max": _NAME_BYTES,
        "disk_version": _DISK_VERSION,
    }


def read_tree(tree: Path) -> dict[str, bytes]:
    """The files of a tree: name with slashes -> content.

    Raises: Failure on links, devices, over-long names, and on what must not be on a board.
    """
    files: dict[str, bytes] = {}
    try:
        for folder, folders, names in os.walk(tree, onerror=_raise):
            folders.sort()
            for name in sorted(names + folders):
                path = Path(folder) / name
                mode = path.lstat().st_mode
                if stat.S_ISDIR(mode):
                    continue
                if not stat.S_ISREG(mode) or len(os.fsencode(name)) > _NAME_BYTES:
                    raise _bad_tree(f"{path} is a link or a device, or its name is too long", f"rm {path}")
                files[path.relative_to(tree).as_posix()] = path.read_bytes()
    except OSError as e:
        raise Failure(f"{tree} cannot be read", f"{e.filename}: {e.strerror}", f"ls -lR {tree}") from None
    if len(files) > _MAX_FILES:
        raise _bad_tree(f"{tree} holds {len(files)} files", "rootlet deploy --help   (give a tree for a board)")
    return files


def _raise(error: OSError) -> None:
    raise error


def _bad_tree(because: str, try_: str) -> Failure:
    return Failure("this tree does not go onto a board", because, try_, Exit.USAGE)


def check_tree(tree: Path, files: dict[str, bytes], board: Board) -> None:
    """Refuse a tree that is for another board, would not start, or holds a key that no board may have.

    Raises: Failure.
    """
    from host_tools import deploy

    if "main.py" not in files:
        raise _bad_tree(f"there is no main.py in {tree}", "give a tree with the whole firmware, or a device's id")
    try:
        facts = json.loads(files.get("board.json", b"{}"))
        other = facts.get("id", board["id"]) if isinstance(facts, dict) else None
    except ValueError:
        other = None
    if other != board["id"]:
        raise _bad_tree(f"its board.json is for {other}, the image for {board['id']}", f"--board {other}")
    for name, content in files.items():
        if Path(name).name.startswith("ca.key") or b"PRIVATE KEY-----" in content[:200]:
            raise _bad_tree(f"{name} is a CA's private key, or a key in PEM, which no board reads", f"rm {tree / name}")
        if name.endswith(".key.der") and name[: -len("key.der")] + "crt.der" in files:
            deploy.check_identity(tree / (name[: -len("key.der")] + "crt.der"), tree / name)


def littlefs_image(files: dict[str, bytes], board: Board, size: int) -> bytes:
    """A LittleFS image of `size` bytes, as MicroPython on that board mounts it.

    Raises: Failure where the files do not fit.
    """
    littlefs = _library()
    image = littlefs.LittleFS(**_parameters(board, size // board["image"]["block_bytes"]))
    try:
        for name in sorted(files):
            parent = os.path.dirname(name)
            if parent:
                image.makedirs(parent, exist_ok=True)
            with image.open(name, "wb") as f:
                f.write(files[name])
    except littlefs.LittleFSError as e:
        total = sum(map(len, files.values()))
        raise Failure(
            "the tree does not fit onto the board",
            f"{len(files)} files of {total} bytes into a file system of {size} ({e})",
            "leave files out, or choose a board with more flash",
        ) from None
    return bytes(image.context.buffer)


def extract(image: bytes, board: Board) -> dict[str, bytes]:
    """The files of a LittleFS image: name with slashes -> content."""
    littlefs = _library()
    # Any disk version: a board that has written to it may have raised it.
    parameters = _parameters(board, len(image) // board["image"]["block_bytes"]) | {"disk_version": 0}
    mounted = littlefs.LittleFS(mount=False, **parameters)
    mounted.context.buffer[:] = image
    mounted.mount()
    files: dict[str, bytes] = {}
    for folder, _, names in mounted.walk("/"):
        for name in names:
            path = f"{folder.rstrip('/')}/{name}"
            with mounted.open(path, "rb") as f:
                files[path.lstrip("/")] = f.read()
    return files


def place(firmware: bytes, board: Board) -> tuple[int, int]:
    """Where that firmware keeps its file system on the board: (address, bytes).

    Raises: uf2.Uf2Error, esp_image.EspError where there is no room.
    """
    flash, image = board["flash"], board["image"]
    if image["format"] == "uf2":
        start = image["offset"] + flash["size_bytes"] - flash["filesystem_bytes"]
        end = uf2.parse(firmware).end
        if end > start:
            raise uf2.Uf2Error(f"it ends at 0x{end:08x}, the file system begins at 0x{start:08x}")
        return start, flash["filesystem_bytes"]
    return esp_image.filesystem(esp_image.parse(firmware, image["offset"]), flash["size_bytes"])


def join(firmware: bytes, filesystem: bytes, board: Board) -> bytes:
    """Firmware (checked already) and file system as one file, UF2 or flat binary.

    Erased blocks of the file system are written too: nothing of an earlier one, keys above all, is left on the flash.
    Raises: as place().
    """
    start, _ = place(firmware, board)
    if board["image"]["format"] == "uf2":
        parsed = uf2.parse(firmware)
        pages = parsed.pages | uf2.pages_of(filesystem, start)
        # Whole sectors only: the RP2040's boot ROM may leave the rest of a sector as it was (erratum RP2040-E14).
        sector = board["image"]["block_bytes"]
        for address in {page // sector * sector for page in parsed.pages}:
            for page in range(address, address + sector, uf2.PAYLOAD):
                pages.setdefault(page, b"\xff" * uf2.PAYLOAD)
        return uf2.build(parsed.family, pages, parsed.prologue)
    at = start - board["image"]["offset"]
    if len(firmware) > at:
        raise esp_image.EspError(
            f"it is {len(firmware)} bytes long, the file system begins at {at}: a full image already?"
        )
    return firmware.ljust(at, b"\xff") + filesystem
