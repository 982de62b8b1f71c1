"""What a virtual board says: takes the marks for the host out of it and keeps the rest, bounded, to be waited for."""

import codecs
import re
import threading
import time

MARK_START = b"\x1b]rootlet-sim;"
MARK_END = b"\x07"
_LONGEST_MARK = 64
_QUIET_S = 0.05


class Splitter:
    """Splits a byte stream into plain output and marks, however it is cut up."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> list[tuple[str, bytes]]:
        """The parts of `data` (after what was held back), in order: ("text", bytes) or ("mark", name)."""
        data = self._held + data
        self._held = b""
        parts: list[tuple[str, bytes]] = []
        while data:
            at = data.find(MARK_START)
            if at < 0:
                keep = _overlap(data, MARK_START)
                self._held = data[len(data) - keep :]
                data, rest = data[: len(data) - keep], b""
            else:
                end = data.find(MARK_END, at, at + len(MARK_START) + _LONGEST_MARK)
                if end < 0 and len(data) - at < len(MARK_START) + _LONGEST_MARK:
                    self._held = data[at:]
                    data, rest = data[:at], b""
                elif end < 0:  # not one of ours after all
                    data, rest = data[: at + 1], data[at + 1 :]
                else:
                    name, rest, data = data[at + len(MARK_START) : end], data[end + 1 :], data[:at]
                    if data:
                        parts.append(("text", data))
                    parts.append(("mark", name))
                    data = rest
                    continue
            if data:
                parts.append(("text", data))
            data = rest
        return parts


def _overlap(data: bytes, start: bytes) -> int:
    """How many bytes at the end of `data` may be the beginning of `start`."""
    for length in range(min(len(data), len(start) - 1), 0, -1):
        if data.endswith(start[:length]):
            return length
    return 0


class Console:
    """The text of a board's console since it was made; the newest `limit` characters are kept."""

    def __init__(self, limit: int = 1 << 18) -> None:
        self._limit = limit
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._text = ""
        self._dropped = 0
        self._closed = ""
        self._changed = threading.Condition()

    @property
    def text(self) -> str:
        """What was said, with plain line ends."""
        with self._changed:
            return self._text

    @property
    def position(self) -> int:
        """How many characters were said so far; for `since`."""
        with self._changed:
            return self._dropped + len(self._text)

    def add(self, data: bytes) -> None:
        """Append what the board said."""
        text = self._decoder.decode(data).replace("\r\n", "\n")
        with self._changed:
            self._text += text
            extra = len(self._text) - self._limit
            if extra > 0:
                self._text = self._text[extra:]
                self._dropped += extra
            self._changed.notify_all()

    def close(self, reason: str) -> None:
        """Nothing more will come; whoever waits is told `reason`."""
        with self._changed:
            self._closed = self._closed or reason
            self._changed.notify_all()

    def wait_for(self, pattern: str, timeout_s: float, since: int = 0) -> str:
        """Wait until the text after position `since` matches (re.search, MULTILINE).

        Returns: the whole line, or lines, of the first match.
        Raises: TimeoutError when there is none within timeout_s seconds, or nothing more can come.
        """
        wanted = re.compile(pattern, re.MULTILINE)
        deadline = time.monotonic() + timeout_s
        with self._changed:
            while True:
                match = wanted.search(self._text, max(0, since - self._dropped))
                left = deadline - time.monotonic()
                if match and match.end() < len(self._text):
                    break
                if match:  # it ends where the text ends: the rest of the line may be on its way
                    if not self._changed.wait(_QUIET_S):
                        break
                elif self._closed or left <= 0:
                    last = self._text.rstrip().rsplit("\n", 1)[-1][-200:]
                    why = self._closed or f"not within {timeout_s:g} s"
                    raise TimeoutError(f"the virtual board did not say {pattern!r}: {why}; its last line: {last!r}")
                else:
                    self._changed.wait(left)
            first = self._text.rfind("\n", 0, match.start()) + 1
            end = self._text.find("\n", match.end())
            return self._text[first : end if end >= 0 else len(self._text)]
