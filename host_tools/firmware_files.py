"""MicroPython firmware files: read, told apart by content, checked against a board, or fetched from micropython.org."""

import hashlib
import re
import ssl
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from host_tools import boards, esp_image, uf2
from host_tools.boards import Board
from host_tools.failure import Exit, Failure

SITE = "https://micropython.org"
_TIMEOUT_S = 30
# A UF2 file is twice what it writes; no board here has more than 16 MB of flash.
_MAX_BYTES = 33 << 20
_MAX_PAGE_BYTES = 4 << 20
_SUFFIX = {"uf2": "uf2", "esp": "bin"}


@dataclass(frozen=True)
class Checked:
    """Firmware that is sound and for the board: `writes` in words; the chip's flash must have `least_bytes`, and where
    `exact` is set just that many.
    """

    board: Board
    data: bytes
    writes: str
    least_bytes: int
    exact: bool = False

    @property
    def sha256(self) -> str:
        """SHA-256 of the file, hex."""
        return hashlib.sha256(self.data).hexdigest()


def page(board: Board) -> str:
    """Where a person finds firmware for a board."""
    return f"{SITE}/download/{board['image']['download']}/"


def read(path: Path) -> bytes:
    """The bytes of a firmware file. Raises Failure."""
    try:
        with path.open("rb") as f:
            data = f.read(_MAX_BYTES + 1)
    except OSError as e:
        raise Failure(f"{path} cannot be read", e.strerror or str(e), f"ls -l {path}", Exit.USAGE) from None
    if len(data) > _MAX_BYTES:
        raise Failure(f"{path} is too big", f"more than {_MAX_BYTES} bytes", f"ls -l {path}", Exit.UNVERIFIED)
    return data


def _ids(board: Board) -> list[int]:
    return [int(name, 16) for name in board["image"]["ids"]]


def board_of(data: bytes, name: str) -> Board:
    """The board a file is for, by its family or chip id. Raises Failure where there is none, or several."""
    try:
        if data[:4] == b"UF2\n":
            kind, wanted = "uf2", uf2.parse(data).family
        else:
            # The first header is enough to name the chip; the whole is checked against the board afterwards.
            kind, wanted = "esp", esp_image.parse_image(data[: esp_image.TABLE], "the boot loader").chip
    except (uf2.Uf2Error, esp_image.EspError) as e:
        raise bad(name, str(e)) from None
    found = [board for board in boards.all_boards() if board["image"]["format"] == kind and wanted in _ids(board)]
    if len(found) == 1:
        return found[0]
    if found:
        choices = "  or  ".join(f"rootlet flash --board {board['id']} --firmware {name}" for board in found)
        raise Failure("which board?", f"{name} fits {len(found)} boards", choices, Exit.USAGE)
    said = uf2.family_name(wanted) if kind == "uf2" else esp_image.chip_name(wanted)
    raise Failure(f"{name} is for no board of Rootlet", f"it is for {said}", "rootlet boards", Exit.UNVERIFIED)


def with_flash(board: Board, megabytes: int) -> Board:
    """The board with a flash of another size than its file says. Raises Failure, exit code 2, for a Pico."""
    if board["image"]["format"] != "esp":
        because = f"{board['name']} comes with {board['flash']['size_bytes'] >> 20} MB"
        raise Failure("--flash-mb is for ESP32 modules", because, "leave it out", Exit.USAGE)
    flash: boards.Flash = {**board["flash"], "size_bytes": megabytes << 20}
    return {**board, "flash": flash}


def bad(name: str, because: str, board: Board | None = None) -> Failure:
    """The refusal of a file."""
    where = page(board) if board else "rootlet boards   (lists the boards)"
    return Failure(f"{name} is refused; nothing was written", because, where, Exit.UNVERIFIED)


def check(data: bytes, board: Board, name: str) -> Checked:
    """Check a firmware file against a board's facts.

    Raises: Failure with exit code 4, whose second line is what is wrong.
    """
    image, size = board["image"], board["flash"]["size_bytes"]
    try:
        if image["format"] == "uf2":
            if data[:4] != b"UF2\n":
                raise uf2.Uf2Error(f"it is no UF2 file, which {board['name']} wants")
            parsed = uf2.parse(data)
            uf2.check(parsed, _ids(board), image["offset"], size)
            count = len(parsed.pages) * uf2.PAYLOAD
            return Checked(board, data, f"{count} bytes, 0x{parsed.start:08x} to 0x{parsed.end:08x}", size)
        firmware = esp_image.parse(data, image["offset"])
        end = image["offset"] + len(data)
        esp_image.check(firmware, len(data), _ids(board)[0], image["offset"], size)
        start, room = esp_image.filesystem(firmware, size)
        full = end > start
        if full and end != start + room:
            raise esp_image.EspError(
                f"it ends at 0x{end:x}, within the file system (0x{start:x} to 0x{start + room:x})"
            )
        exact = full and not esp_image.is_fixed(firmware)
        least = size if exact else esp_image.least_flash(firmware, end)
        return Checked(board, data, f"{len(data)} bytes, 0x{image['offset']:x} to 0x{end:x}", least, exact)
    except (uf2.Uf2Error, esp_image.EspError) as e:
        raise bad(name, str(e), board) from None


def download(board: Board, folder: Path, site: str = SITE, ca_file: Path | None = None) -> Path:
    """Fetch the newest release for a board, over HTTPS that is verified by certifi's roots.

    Args: folder: where the file is kept; one that is there already is not fetched again. site, ca_file: for tests.
    Raises: Failure with the link to fetch by hand.
    """
    import certifi

    from host_tools import safe_write

    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else certifi.where())
    # No handler for plain HTTP and none for redirects: nothing but verified TLS to this very site.
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        urllib.request.HTTPSHandler(context=context),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
        urllib.request.UnknownHandler(),
    ):
        opener.add_handler(handler)

    def get(path: str, limit: int) -> bytes:
        with opener.open(site + path, timeout=_TIMEOUT_S) as response:
            body: bytes = response.read(limit + 1)
        if len(body) > limit:
            raise OSError(f"more than {limit} bytes")
        return body

    name = board["image"]["download"]
    try:
        text = get(f"/download/{name}/", _MAX_PAGE_BYTES).decode("utf-8", "replace")
        suffix = _SUFFIX[board["image"]["format"]]
        found = re.findall(rf"/resources/firmware/({name}-\d{{8}}-v(\d+(?:\.\d+){{1,2}})\.{suffix})", text)
        if not found:
            raise OSError("the page names no release")
        file: str = max(found, key=lambda row: [int(part) for part in row[1].split(".")])[0]
        target = folder / file
        if target.is_file():
            return target
        data = get(f"/resources/firmware/{file}", _MAX_BYTES)
    except (OSError, ValueError, urllib.error.URLError) as e:
        reason = str(getattr(e, "reason", e))[:200]
        command = f"open {page(board)} in a browser, then: rootlet flash --board {board['id']} --firmware FILE"
        raise Failure("the firmware could not be downloaded", reason, command) from None
    check(data, board, file)
    safe_write.make_directory(folder)
    safe_write.write_all([safe_write.File(target, data)])
    return target
