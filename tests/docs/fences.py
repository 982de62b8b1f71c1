"""Reads the fenced blocks of a Markdown page, the markers before them, and the commands in them.

A marker is an HTML comment right before the block, which no reader of the page sees:

    <!-- not run: needs a board -->                 REASONS, and free text after a comma if more is to be said
    <!-- run: project, broker -->                   scenes (scenes.py) that must be there before it runs
    <!-- run: folder; expect: 20 readings -->       a text in what it says
    <!-- run: board; until: joined | kitchen -->    what its lasting commands say before the next is begun
    <!-- run: by tests/board/test_x.py -->          another test runs it
Further parts: `exit: N`, `file: NAME` (the block is written there; `add to: NAME`: at its end), `long` (only with
ROOTLET_DOCS=all), `replace: A = B` (what a person puts in place of A), `fill in` (after it the project is filled in, as
the page asks).
"""

import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path

REASONS = (
    "needs a board",
    "needs a public server",
    "needs another machine",
    "needs a program",
    "changes this machine",
    "runs for ever",
    "is output",
)
SHELL = ("sh", "bash", "console", "shell")
CHECKED = ("toml", "json", "python")
PROGRAMS = ("rootlet", "mpremote", "make", "pip", "python3", "openssl", "mosquitto_pub", "mosquitto_sub", "docker",
            "git", "cd", "curl", "sudo", "esptool", "shred", "crontab")  # fmt: skip
"""A block that names no language is one of commands if one of its lines begins with one of these."""

# A command that runs until Ctrl-C, unless one of these words is in it; what it says when it is up; whether it stays
# until the page's end.
LASTING: dict[str, tuple[tuple[str, ...], str, bool]] = {
    "broker": (("--check", "--write", "--help"), r"Ctrl-C ends", True),
    "dashboard": (("--help",), r"^open|^https", True),
    "sim": (("--seconds", "--help"), r"Ctrl-C|mpremote", True),
    "demo": (("--help",), r"It is running", False),
    "logs": (("--seconds", "--help"), r"Ctrl-C ends", False),
    "watch": (("--once", "--count", "--help"), r"temperature", False),
}
_MARKER = re.compile(r"<!-- *((?:not )?run): *(.*?) *-->")
_PARTS = ("expect", "until", "exit", "file", "long", "add to", "replace", "fill in")


class Bad(Exception):
    """A page that cannot be read so, with file and line."""


@dataclass(frozen=True)
class Block:
    """A fenced block: `line` of its opening fence, from 1; `text` without the fence's indent."""

    page: Path
    line: int
    language: str
    text: str
    not_run: str | None = None
    scenes: tuple[str, ...] | None = None
    parts: dict[str, str] = field(default_factory=dict)
    replaced: tuple[tuple[str, str], ...] = ()

    @property
    def place(self) -> str:
        """File and line, for whoever mends it."""
        return f"{'/'.join(self.page.parts[-2:])}:{self.line}"

    @property
    def marked(self) -> bool:
        return self.not_run is not None or self.scenes is not None

    @property
    def elsewhere(self) -> str | None:
        """The test that runs it, where that is not this one."""
        return self.scenes[0][3:] if self.scenes and self.scenes[0].startswith("by tests/") else None

    @property
    def kind(self) -> str:
        """ "commands", a language of CHECKED, or "shown" (output, and files of other programs)."""
        if self.language in SHELL:
            return "commands"
        if self.language in CHECKED:
            return self.language
        if self.language:
            return "shown"
        begun = (line.lstrip("$ ").split(" ", 1)[0] for line in self.text.splitlines() if line[:1] not in (" ", "\t"))
        return "commands" if any(word in PROGRAMS for word in begun) else "shown"


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order. Raises Bad: a fence that does not end, a marker that says nothing known."""
    found = []
    lines = page.read_text(encoding="utf-8").splitlines()
    marker: tuple[int, str] | None = None
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        opened = re.match(r"( *)(`{3,}|~{3,}) *([\w-]*)", line)
        if not opened:
            comment = _MARKER.fullmatch(line.strip())
            if comment:
                if marker:
                    raise Bad(f"{page}:{marker[0]}: no block comes after the marker")
                marker = (at, comment[0])
            elif line.strip() and marker:
                raise Bad(f"{page}:{marker[0]}: no block comes after the marker")
            continue
        indent, fence, language = opened.groups()
        start = at
        while at < len(lines) and lines[at].strip() != fence:
            at += 1
        if at == len(lines):
            raise Bad(f"{page}:{start}: the block does not end")
        text = "".join(_dedented(row, len(indent)) + "\n" for row in lines[start:at])
        at += 1
        found.append(_marked(Block(page, start, language, text), marker[1] if marker else ""))
        marker = None
    if marker:
        raise Bad(f"{page}:{marker[0]}: no block comes after the marker")
    return found


def _dedented(line: str, indent: int) -> str:
    return line[indent:] if not line[:indent].strip() else line.lstrip()


def _marked(block: Block, comment: str) -> Block:
    """The block with what its marker says."""
    found = _MARKER.fullmatch(comment)
    if not found:
        return block
    what, said = found.groups()
    if what == "not run":
        if not any(re.match(rf"{reason}(?:$|[,:;])", said) for reason in REASONS):
            raise Bad(f"{block.place}: {said!r} is no reason of {', '.join(REASONS)}")
        return Block(block.page, block.line, block.language, block.text, not_run=said)
    scenes, *more = (part.strip() for part in said.split(";"))
    parts, replaced = {}, []
    for part in more:
        name, _, value = (word.strip() for word in part.partition(":"))
        if name not in _PARTS:
            raise Bad(f"{block.place}: {part!r} in the marker is none of {', '.join(_PARTS)}")
        if name == "replace":
            old, _, new = (word.strip() for word in value.partition("="))
            replaced.append((old, new))
        else:
            parts[name] = value
    names = tuple(scene.strip() for scene in scenes.split(","))
    return Block(
        block.page, block.line, block.language, block.text, scenes=names, parts=parts, replaced=tuple(replaced)
    )


def commands(text: str) -> list[str]:
    """The commands of a block: lines that go on joined to one, `a && b` apart, here-documents whole, output left out.

    Where lines have a prompt, only those are commands.
    """
    lines = text.splitlines()
    if any(line.startswith("$ ") for line in lines):
        lines = [line[2:] for line in lines if line.startswith("$ ")]
    found: list[str] = []
    at = 0
    while at < len(lines):
        line = lines[at]
        at += 1
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        here = re.search(r"<<-?\s*'?(\w+)'?", line)
        if here:
            end = next((i for i in range(at, len(lines)) if lines[i].strip() == here[1]), len(lines) - 1)
            found.append("\n".join([line, *lines[at : end + 1]]))
            at = end + 1
            continue
        while line.endswith("\\") and at < len(lines):
            line += "\n" + lines[at]
            at += 1
        found += [line] if "'" in line or '"' in line else re.split(r"\s+&&\s+", line)
    return found


def shown(text: str) -> list[str]:
    """Where a block's commands have a prompt, the lines they print, as patterns: "…" is anything."""
    lines = text.splitlines()
    if not any(line.startswith("$ ") for line in lines):
        return []
    return [re.escape(line).replace("…", ".*") for line in lines if line.strip() and not line.startswith("$ ")]


def words(command: str) -> list[str]:
    """The words of a command, without its comment, here-document and settings of variables."""
    first = command.partition("<<")[0]
    found = shlex.split(first.replace("\\\n", " "), comments=True)
    while found and re.match(r"\w+=", found[0]):
        found.pop(0)
    return found


def lasts(command: str) -> tuple[str, bool] | None:
    """What a command that runs until Ctrl-C says when it is up, and whether it stays; None: it ends by itself."""
    said = words(command)
    if len(said) < 2 or said[0].rsplit("/", 1)[-1] != "rootlet" or said[1] not in LASTING:
        return None
    ends, ready, stays = LASTING[said[1]]
    if any(word in ends for word in said) or (said[1] == "demo" and "--keep" not in said):
        return None
    return ready, stays
