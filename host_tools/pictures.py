"""Draws the pictures of docs/certificates.md as SVG, from data: boxes, arrows, and messages between parties.

Make them again with: python -m host_tools.pictures
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

from .paths import ROOT

FOLDER = ROOT / "docs" / "pictures"
LINE = 20
# Light by default, dark where the reader's system is; no colour carries meaning alone.
STYLE = """
text { font: 15px sans-serif; fill: #1a1a1a; }
.small { font-size: 13px; fill: #444; }
.bold { font-weight: bold; }
.paper { fill: #fff; }
.box { fill: #eef3fb; stroke: #35618f; stroke-width: 1.5; }
.key { fill: #fdf3e0; stroke: #96690f; stroke-width: 1.5; }
.bad { fill: #fbecec; stroke: #a33; stroke-width: 1.5; stroke-dasharray: 5 3; }
.line { stroke: #555; stroke-width: 1.5; fill: none; }
.life { stroke: #999; stroke-dasharray: 4 4; }
.head { fill: #555; }
@media (prefers-color-scheme: dark) {
  text { fill: #eee; } .small { fill: #bbb; } .paper { fill: #16181c; }
  .box { fill: #1d2a3a; stroke: #7fb0e0; } .key { fill: #33290f; stroke: #e0b050; }
  .bad { fill: #3a1d1d; stroke: #f08080; }
  .line { stroke: #bbb; } .life { stroke: #777; } .head { fill: #bbb; }
}"""


@dataclass(frozen=True)
class Box:
    """A box of text. x, y, width in pixels; its height is that of its lines; kind: "box", "key" or "bad"."""

    x: int
    y: int
    width: int
    lines: tuple[str, ...]
    kind: str = "box"

    @property
    def height(self) -> int:
        return LINE * len(self.lines) + 16


@dataclass(frozen=True)
class Arrow:
    """From one box to another, by their numbers; what is written beside its middle."""

    start: int
    end: int
    label: str = ""


@dataclass(frozen=True)
class Picture:
    """Boxes with arrows, or parties with messages between them from top to bottom.

    name: of the file. title, text: for those who cannot see it. messages: (from, to, label); from = to is a thought.
    """

    name: str
    title: str
    text: str
    boxes: tuple[Box, ...] = ()
    arrows: tuple[Arrow, ...] = ()
    parties: tuple[str, ...] = ()
    messages: tuple[tuple[int, int, str], ...] = field(default=())


def _text(x: float, y: float, line: str, kind: str = "", middle: bool = False) -> str:
    place = ' text-anchor="middle"' if middle else ""
    kinds = f' class="{kind}"' if kind else ""
    return f'<text x="{x:g}" y="{y:g}"{place}{kinds}>{escape(line)}</text>'


def _box(box: Box) -> Iterable[str]:
    yield (f'<rect class="{box.kind}" x="{box.x}" y="{box.y}" width="{box.width}" height="{box.height}" rx="6"/>')
    for i, line in enumerate(box.lines):
        yield _text(box.x + 12, box.y + LINE * (i + 1) + 3, line, "small" if i else "bold")


def _line(x1: float, y1: float, x2: float, y2: float) -> str:
    return f'<line class="line" x1="{x1:g}" y1="{y1:g}" x2="{x2:g}" y2="{y2:g}" marker-end="url(#head)"/>'


def _edge(box: Box, other: Box) -> tuple[float, float]:
    """Where an arrow between two boxes touches the first: the middle of the side that faces the other."""
    if other.y >= box.y + box.height or other.y + other.height <= box.y:
        return box.x + box.width / 2, box.y + (box.height if other.y > box.y else 0)
    return box.x + (box.width if other.x > box.x else 0), box.y + box.height / 2


def _arrow(arrow: Arrow, boxes: tuple[Box, ...]) -> Iterable[str]:
    start, end = boxes[arrow.start], boxes[arrow.end]
    (x1, y1), (x2, y2) = _edge(start, end), _edge(end, start)
    yield _line(x1, y1, x2, y2)
    if arrow.label:
        flat = abs(y1 - y2) < LINE
        yield _text(
            (x1 + x2) / 2 + (0 if flat else 14),
            (y1 + y2) / 2 + (-8 if flat else 10 if x1 != x2 else 5),
            arrow.label,
            "small",
            flat,
        )


def _conversation(picture: Picture) -> Iterable[str]:
    """Parties side by side, a line of life below each, messages downwards."""
    width, step = 300, 42
    bottom = 80 + step * len(picture.messages)
    places = [150 + i * width for i in range(len(picture.parties))]
    for x, name in zip(places, picture.parties, strict=True):
        yield f'<line class="life" x1="{x}" y1="56" x2="{x}" y2="{bottom}"/>'
        yield f'<rect class="box" x="{x - 90}" y="20" width="180" height="36" rx="6"/>'
        yield _text(x, 43, name, "bold", middle=True)
    for i, (start, end, label) in enumerate(picture.messages):
        y = 100 + step * i
        if start == end:
            yield f'<rect class="key" x="{places[start] - 140}" y="{y - 22}" width="280" height="32" rx="6"/>'
            yield _text(places[start], y - 1, label, "small", middle=True)
        else:
            yield _text((places[start] + places[end]) / 2, y - 7, label, "small", middle=True)
            yield _line(places[start], y, places[end], y)


def _size(picture: Picture) -> tuple[int, int]:
    if picture.parties:
        return 300 * len(picture.parties), 100 + 42 * len(picture.messages)
    return (
        max(box.x + box.width for box in picture.boxes) + 20,
        max(box.y + box.height for box in picture.boxes) + 20,
    )


def draw(picture: Picture) -> str:
    """The picture as the text of an SVG file, with title and description for screen readers."""
    width, height = _size(picture)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' role="img" aria-labelledby="t d">',
        f'<title id="t">{escape(picture.title)}</title>',
        f'<desc id="d">{escape(picture.text)}</desc>',
        f"<style>{STYLE}</style>",
        '<defs><marker id="head" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="8" markerHeight="8"'
        ' orient="auto-start-reverse"><path class="head" d="M0 0 10 5 0 10z"/></marker></defs>',
        f'<rect class="paper" width="{width}" height="{height}"/>',
    ]
    for box in picture.boxes:
        parts += _box(box)
    for arrow in picture.arrows:
        parts += _arrow(arrow, picture.boxes)
    if picture.parties:
        parts += _conversation(picture)
    return "\n".join((*parts, "</svg>")) + "\n"


def write(folder: Path = FOLDER) -> list[Path]:
    """Draw all pictures into a folder. Returns the files."""
    from .pictures_data import PICTURES

    folder.mkdir(parents=True, exist_ok=True)
    paths = []
    for picture in PICTURES:
        path = folder / f"{picture.name}.svg"
        path.write_text(draw(picture))
        paths.append(path)
    return paths


if __name__ == "__main__":
    for drawn in write():
        print(drawn)
