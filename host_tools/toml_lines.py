"""Where each key of a TOML text stands, which `tomllib` does not tell.

It reads text that `tomllib` has accepted already, and judges nothing.
"""

import re

Path = tuple[str | int, ...]
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_KEY = re.compile(r"[A-Za-z0-9_-]+|\"(?:[^\"\\\n]|\\.)*\"|'[^'\n]*'")
_DOT = re.compile(r"[ \t]*\.[ \t]*")
_TEXTS = (
    re.compile(r'"""(?:[^\\]|\\.)*?"""(?:"{0,2})', re.S),
    re.compile(r"'''.*?'''(?:'{0,2})", re.S),
    re.compile(r'"(?:[^"\\\n]|\\.)*"'),
    re.compile(r"'[^'\n]*'"),
)
_PLAIN = re.compile(r"[^,\]}\n#]*")


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text.replace("\r\n", "\n")
        self.at = 0
        self.seen: dict[Path, int] = {}
        self.counts: dict[Path, int] = {}
        self._line = 1
        self._counted = 0

    def line(self) -> int:
        self._line += self.text.count("\n", self._counted, self.at)
        self._counted = self.at
        return self._line

    def skip(self, pattern: re.Pattern[str]) -> str:
        found = pattern.match(self.text, self.at)
        if found is None:
            return ""
        self.at = found.end()
        return found.group()

    def taken(self, word: str) -> bool:
        if self.text.startswith(word, self.at):
            self.at += len(word)
            return True
        return False

    def note(self, path: Path) -> None:
        for i in range(1, len(path) + 1):
            self.seen.setdefault(path[:i], self.line())

    def keys(self) -> list[str]:
        self.skip(_BLANK)
        names = [self.name()]
        while self.skip(_DOT):
            names.append(self.name())
        self.skip(_BLANK)
        return names

    def name(self) -> str:
        import tomllib

        raw = self.skip(_KEY)
        if raw[:1] in ('"', "'"):
            return next(iter(tomllib.loads(f"{raw} = 0")))
        return raw

    def header(self, many: bool) -> Path:
        names = self.keys()
        path: Path = ()
        for name in names[:-1]:
            path += (name,)
            if path in self.counts:
                path += (self.counts[path] - 1,)
        path += (names[-1],)
        self.note(path)
        if many:
            number = self.counts.get(path, 0)
            self.counts[path] = number + 1
            path += (number,)
            self.seen[path] = self.line()
        self.taken("]]" if many else "]")
        return path

    def value(self, path: Path) -> None:
        self.skip(_BLANK)
        if self.taken("["):
            self.items(path)
        elif self.taken("{"):
            self.pairs(path)
        elif not any(self.skip(pattern) for pattern in _TEXTS):
            self.skip(_PLAIN)

    def items(self, path: Path) -> None:
        number = 0
        while True:
            self.skip(_BLANK)
            if self.taken("]") or self.at >= len(self.text):
                return
            if not self.taken(","):
                self.note((*path, number))
                self.value((*path, number))
                number += 1

    def pairs(self, path: Path) -> None:
        while True:
            self.skip(_BLANK)
            if self.taken("}") or self.at >= len(self.text):
                return
            if not self.taken(","):
                self.pair(path)

    def pair(self, base: Path) -> None:
        path = (*base, *self.keys())
        self.note(path)
        self.taken("=")
        self.value(path)

    def run(self) -> dict[Path, int]:
        base: Path = ()
        self.skip(_BLANK)
        while self.at < len(self.text):
            start = self.at
            if self.taken("[["):
                base = self.header(many=True)
            elif self.taken("["):
                base = self.header(many=False)
            else:
                self.pair(base)
            self.skip(_BLANK)
            if self.at == start:  # text that tomllib would not have accepted
                break
        return self.seen


def lines(text: str) -> dict[Path, int]:
    """The line of every key, table and list item, by its path: ("wifi", "networks", 0, "ssid") -> 7.

    Args: text: TOML that `tomllib.loads` accepts.
    """
    return _Scanner(text).run()


def dotted(path: Path) -> str:
    """A path as a person writes it: wifi.networks[0].ssid."""
    out = ""
    for part in path:
        out += f"[{part}]" if isinstance(part, int) else f".{part}" if out else part
    return out


def undotted(text: str) -> Path:
    """The path of such a text; () where it is none."""
    path: Path = ()
    for piece in text.split("."):
        found = re.fullmatch(r"([A-Za-z0-9_-]+)((?:\[[0-9]{1,3}\])*)", piece)
        if not found:
            return ()
        path += (found[1], *(int(number) for number in re.findall(r"[0-9]+", found[2])))
    return path
