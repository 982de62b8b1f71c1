"""Follows a board's console over its serial port, through resets and unplugging, without touching its program."""

import contextlib
import errno
import json
import time
from collections.abc import Callable, Generator, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import IO, Any

from host_tools.console_lines import Line, Reader
from host_tools.failure import Exit, Failure
from host_tools.ports import Target

_BAUD = 115200
_PATIENCE_S = 0.1
_CHUNK = 4096
_FIRST_PAUSE_S = 0.1
_LONGEST_PAUSE_S = 2.0


@dataclass(frozen=True)
class Event:
    """What happened. kind: "data" (of the board), "open", "lost" or "back" (its port; `text` says why or where)."""

    kind: str
    data: bytes = b""
    text: str = ""


def _open(port: str) -> Any:
    """The port, ours alone. DTR and RTS rise together, which starts the output of a Pico and resets no ESP32."""
    import serial

    return serial.Serial(port, _BAUD, timeout=_PATIENCE_S, exclusive=True)


def _close(link: Any) -> None:
    # RTS first: the other way round would reset an ESP32.
    with contextlib.suppress(OSError):
        link.rts = False
        link.dtr = False
    with contextlib.suppress(OSError):
        link.close()


def _refused(port: str, error: Exception) -> Failure:
    text = str(error)
    number = getattr(error, "errno", None)
    if number in (errno.EBUSY, errno.EAGAIN) or "exclusively lock" in text:
        fix = f"lsof {port}   (close what holds it: a REPL, an IDE)"
        return Failure(f"{port} is busy", "another program has it open", fix, Exit.NO_DEVICE)
    if number == errno.EACCES:
        fix = "sudo usermod -aG dialout $USER   (then log in again)"
        return Failure(f"{port} may not be opened", "permission denied", fix, Exit.NO_DEVICE)
    return Failure(
        f"no board on {port}", text[:200], "mpremote devs   (lists the ports that are there)", Exit.NO_DEVICE
    )


def follow(target: Target, seconds: float = 0, *, clock: Callable[[], float] = time.monotonic) -> Iterator[Event]:
    """What a board says, as it says it; when its port goes, it is opened again with longer and longer pauses.

    Args: target: the board. seconds: how long; 0 is for ever.
    Raises: Failure where the port cannot be opened the first time.
    """
    end = clock() + seconds if seconds else None
    port = target.now()
    try:
        link = _open(port)
    except (OSError, ValueError) as e:
        raise _refused(port, e) from None
    try:
        yield Event("open", text=port)
        while end is None or clock() < end:
            try:
                yield Event("data", link.read(max(1, min(_CHUNK, link.in_waiting))))
            except OSError as e:
                _close(link)
                link = None
                yield Event("lost", text=_reason(e))
                link = yield from _again(target, end, clock)
                if link is None:
                    return
    finally:
        if link is not None:
            _close(link)


def _reason(error: OSError) -> str:
    if error.errno in (errno.EIO, errno.ENODEV, errno.ENXIO, errno.ENOENT) or "returned no data" in str(error):
        return "unplugged, or resetting"
    return str(error)[:100]


def _again(target: Target, end: float | None, clock: Callable[[], float]) -> Generator[Event, None, Any]:
    """Open the port again; returns it, or None where the time is up."""
    pause = _FIRST_PAUSE_S
    while True:
        left = pause if end is None else min(pause, end - clock())
        if left <= 0:
            return None
        time.sleep(left)
        pause = min(2 * pause, _LONGEST_PAUSE_S)
        with contextlib.suppress(OSError, ValueError):
            port = target.now()
            link = _open(port)
            yield Event("back", text=port)
            return link


Show = Callable[[str, Line | None, str], None]


def run(target: Target, reader: Reader, show: Show, *, since_reset: bool = False, seconds: float = 0) -> None:
    """Show a console until the time is up. Raises Failure.

    Args: show: takes (kind, line, words): kind "line" with the line, or "open", "start", "lost", "back" with words.
        since_reset: show nothing before the board's next start.
    """
    quiet = since_reset

    def lines(found: Iterator[Line]) -> None:
        nonlocal quiet
        for line in found:
            if line.started:
                quiet = False
                show("start", None, "the board starts")
            if not quiet:
                show("line", line, "")

    try:
        for event in follow(target, seconds):
            if event.kind == "data":
                lines(reader.feed(event.data))
                continue
            lines(reader.end())
            if event.kind == "open":
                wait = "waiting for its next start: press its reset button" if quiet else "Ctrl-C ends"
                show("open", None, f"the board on {event.text}; {wait}")
            elif event.kind == "lost":
                tries = f"tried again for as long as it takes, every {_LONGEST_PAUSE_S:g} s at most; Ctrl-C ends"
                show("lost", None, f"the board is gone ({event.text}): {tries}")
            else:
                quiet = False
                show("back", None, f"the board is back on {event.text}")
    finally:
        lines(reader.end())


def as_json(kind: str, line: Line | None, words: str, at: datetime) -> str:
    """One object a line; kind "line", "open", "start", "lost" or "back"; what is not known is absent."""
    row: dict[str, Any] = {"time": at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")}
    row["kind"] = kind
    if line is None:
        row["text"] = words
        return json.dumps(row)
    row["text"] = line.text
    for key, value in (("board_s", line.stamp), ("topic", line.topic), ("code", line.code), ("cause", line.cause)):
        if value not in (None, ""):
            row[key] = value
    if line.source:
        row["source"] = {"path": line.source.path, "line": line.source.line, "text": line.source.text}
    return json.dumps(row)


_STYLES = {
    "error": "bold red", "gateway": "bold", "wifi": "cyan", "clock": "magenta", "mqtt": "green", "https": "blue",
    "slots": "yellow",
}  # fmt: skip


def printer(out: IO[str] | None = None) -> Show:
    """A Show for a person: the host's time, the line, and below it what explains it. Colours on a terminal only."""
    from rich.console import Console
    from rich.text import Text

    console = Console(file=out, highlight=False, markup=False, emoji=False, soft_wrap=True)

    def show(kind: str, line: Line | None, words: str) -> None:
        now = f"{datetime.now():%H:%M:%S.%f}"[:-3] + " "
        if line is None:
            console.print(Text.assemble((now, "dim"), (f"--- {words} ---", "yellow")))
            return
        style = _STYLES.get(line.topic, "red" if line.code else "")
        console.print(Text.assemble((now, "dim"), (line.text, style)))
        if line.source:
            where = f"{line.source.path}:{line.source.line}"
            console.print(Text.assemble("    ", (where, "cyan"), f": {line.source.text}"))
        if line.code:
            console.print(Text.assemble((f"    likely: {line.cause} (rootlet explain {line.code})", "dim")))

    return show
