"""What a board's console says: bytes into bounded lines, and each line into what a person needs to know about it."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from host_tools import umqtt
from host_tools.masking import Masker, harmless
from host_tools.paths import BUILD, FIRMWARE

LONGEST = 4096
_WRAP_S = (1 << 29) / 1000
_STAMP = re.compile(r"\[ *(-?\d{1,7}\.\d{3})\] (?:([a-z][a-z0-9_]{0,15}): )?")
_STARTS = re.compile(
    r"MPY: soft reboot|rst:0x[0-9a-f]+ \(|(?:\[ *-?\d+\.\d{3}\] gateway: )rootlet starts|MicroPython v\d\S* on "
)
_FRAME = re.compile(r'\s*File "([^"]{1,200})", line (\d{1,6})')
_ERROR = re.compile(r"(?:\w+\.)*\w*(?:Error|Exception|Interrupt)\b")
_TREES = re.compile(r"^/?(?:app_[ab]/)?")
_SURE = 70
_LONGEST_SOURCE = 160


class Lines:
    """Cuts a stream of bytes into lines; holds at most `longest` bytes, what a line has beyond that is dropped."""

    def __init__(self, longest: int = LONGEST) -> None:
        self._longest = longest
        self._held = b""
        self._full = False

    def feed(self, data: bytes) -> Iterator[tuple[bytes, bool]]:
        """(line without its end, whether it was cut) for each line that is complete."""
        *ended, rest = data.split(b"\n")
        for part in ended:
            self._add(part)
            yield self._take()
        self._add(rest)

    def end(self) -> Iterator[tuple[bytes, bool]]:
        """What is left of a line without an end, if anything."""
        if self._held:
            line, _ = self._take()
            yield line, True

    def _add(self, part: bytes) -> None:
        room = self._longest - len(self._held)
        self._full = self._full or len(part) > room
        self._held += part[: max(0, room)]

    def _take(self) -> tuple[bytes, bool]:
        line, cut = self._held, self._full
        self._held, self._full = b"", False
        return line.removesuffix(b"\r"), cut


@dataclass(frozen=True)
class Source:
    """A line of the firmware in this checkout. path: as an editor opens it."""

    path: str
    line: int
    text: str


@dataclass(frozen=True)
class Line:
    """One line of a console.

    text: harmless, secrets hidden, with the board's stamp. stamp: seconds since the board's start.
    topic: "wifi", "error", … started: the board has just started. code, cause: of the error it tells.
    source: what a line of a traceback means.
    """

    text: str
    stamp: float | None = None
    topic: str = ""
    started: bool = False
    code: str = ""
    cause: str = ""
    source: Source | None = None


class Reader:
    """Turns what a console says into Lines. Args: masker: hides the secrets."""

    def __init__(self, masker: Masker, longest: int = LONGEST) -> None:
        self._masker = masker
        self._lines = Lines(longest)
        self._last: float | None = None
        self._starting = False

    def feed(self, data: bytes) -> Iterator[Line]:
        """The lines that are complete."""
        for raw, cut in self._lines.feed(data):
            yield from self._pieces(raw, cut)

    def end(self) -> Iterator[Line]:
        """The console has gone, or is not read any more: what is left."""
        for raw, cut in self._lines.end():
            yield from self._pieces(raw, cut)
        self._masker.restarted()
        self._last = None

    def _pieces(self, raw: bytes, cut: bool) -> Iterator[Line]:
        """A reset may come in the middle of a line: what the board then says is a line of its own."""
        text = harmless(raw.decode("utf-8", "replace"))
        start = _STARTS.search(text)
        if start:
            if start.start():
                yield self._line(text[: start.start()], True)
            self._masker.restarted()
            text = text[start.start() :]
        yield self._line(text, cut)

    def _line(self, text: str, cut: bool) -> Line:
        text = self._masker.text(text, cut) + (" …" if cut else "")
        found = _STAMP.match(text)
        stamp, topic = (float(found[1]), found[2] or "") if found else (None, "")
        started = self._starts(text, stamp)
        code, cause = meaning(text) if topic == "error" or _ERROR.match(text) else ("", "")
        return Line(text, stamp, topic, started, code, cause, source(text))

    def _starts(self, text: str, stamp: float | None) -> bool:
        """Whether the board has just started: by its words, or by its clock. Said once a start."""
        # The count of milliseconds turns over every 12.4 days, and half of it is below zero.
        back = stamp is not None and self._last is not None and -_WRAP_S < stamp - self._last < 0
        sign = bool(_STARTS.match(text)) or back
        first = sign and not self._starting
        if stamp is not None:
            self._starting, self._last = False, stamp
        elif sign:
            self._starting, self._last = True, None
        return first


@lru_cache(256)
def meaning(text: str) -> tuple[str, str]:
    """(code, likeliest cause) of the error that a line tells, or two empty texts."""
    from host_tools.catalogue import ENTRIES
    from host_tools.explain import find

    found = [row for row in find(text) if row.score >= _SURE]
    return (found[0].code, ENTRIES[found[0].code].causes[0]) if found else ("", "")


@lru_cache(256)
def source(text: str) -> Source | None:
    """The line of this checkout that a line of a traceback on the board is about."""
    frame = _FRAME.match(text)
    path = frame and _file(frame[1])
    if not frame or path is None:
        return None
    number = int(frame[2])
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return None
    if not 0 < number <= len(lines):
        return None
    here = Path.cwd()
    shown = path.relative_to(here) if path.is_relative_to(here) else path
    return Source(str(shown), number, harmless(lines[number - 1].strip())[:_LONGEST_SOURCE])


def _file(name: str) -> Path | None:
    """The file of the firmware by its name on the board; nothing else of this machine is ever read."""
    import rootlet

    plain = _TREES.sub("", name)
    if not re.fullmatch(r"(?:(?:rootlet|umqtt)/)?\w+\.py", plain, re.ASCII):
        return None
    folder, _, last = plain.rpartition("/")
    if folder == "rootlet":
        path = Path(rootlet.__file__).parent / last
    elif folder == "umqtt":
        path = BUILD / f"umqtt-{umqtt.VERSION}" / "umqtt" / last
    else:
        path = FIRMWARE / last
    return path if path.is_file() else None
