"""The measurements as a picture: horizontal bars by group, in SVG, readable on light and on dark."""

import math
from collections.abc import Iterable
from xml.sax.saxutils import escape

from host_tools.bench.rows import Row, number, ratios

_WIDTH = 900  # all lengths in pixels of the picture
_LABELS = 330
_VALUES = 170
_BAR = 14
_STEP = 22
_GROUP = 46
_STYLE = """
svg { font: 13px system-ui, sans-serif;
--paper: #fff; --ink: #1c2430; --quiet: #5a6675; --ours: #0b6e4f; --other: #9aa7b5; }
@media (prefers-color-scheme: dark) {
svg { --paper: #14181d; --ink: #e8edf2; --quiet: #a3afbc; --ours: #3ecf9a; --other: #5f6b78; } }
.paper { fill: var(--paper); } text { fill: var(--ink); } .quiet { fill: var(--quiet); font-size: 12px; }
.group { font-weight: 600; } .ours { fill: var(--ours); } .other { fill: var(--other); }
"""


def _lengths(rows: list[Row], room: float) -> tuple[list[float], bool]:
    """Lengths of the bars, and whether they are logarithmic: where the longest would be fifty times the shortest."""
    values = [row.median for row in rows]
    above = [value for value in values if value > 0]
    if not above:
        return [0.0] * len(rows), False
    top, low = max(above), min(above)
    if top / low < 50:
        return [room * max(value, 0) / top for value in values], False
    first = math.floor(math.log10(low)) - 0.3  # so that the shortest is still a bar
    span = math.log10(top) - first
    return [room * (math.log10(value) - first) / span if value > 0 else 0.0 for value in values], True


def _is_ours(row: Row, members: list[Row]) -> bool:
    """Whether a row is Rootlet's own figure: by its name, or, where nobody else is in the group, what has a ratio."""
    if any("rootlet" in other.name for other in members):
        return "rootlet" in row.name
    return row.to is not None


def _text(x: float, y: float, words: str, kind: str = "", end: bool = False) -> str:
    anchor = ' text-anchor="end"' if end else ""
    named = f' class="{kind}"' if kind else ""
    return f'<text x="{x:.0f}" y="{y:.0f}"{named}{anchor}>{escape(words)}</text>'


def svg(rows: Iterable[Row], title: str) -> str:
    """The picture: each row a bar with its name and value. Args: title: above all, in lines parted by "; "."""
    rows = list(rows)
    found = ratios(rows)
    lines_above = title.split("; ")
    body = [_text(16, 28 + 18 * i, line, "quiet") for i, line in enumerate(lines_above)]
    y = 22 + 18 * len(lines_above)
    # Bars share a scale only with what has the same unit.
    for group, unit in dict.fromkeys((row.group, row.unit) for row in rows):
        members = [row for row in rows if (row.group, row.unit) == (group, unit)]
        lengths, logarithmic = _lengths(members, _WIDTH - _LABELS - _VALUES - 32)
        better = "longer" if members[0].better == "more" else "shorter"
        scale = f"{unit}, {better} is better{', logarithmic' if logarithmic else ''}"
        body.append(_text(16, y + 24, group, "group"))
        body.append(_text(_WIDTH - 16, y + 24, scale, "quiet", end=True))
        y += _GROUP - 8
        for row, length in zip(members, lengths, strict=True):
            ratio = found.get((row.group, row.name))
            told = number(row.median) + (f", ratio {number(ratio)}" if ratio is not None else "")
            kind = "ours" if _is_ours(row, members) else "other"
            body.append(_text(_LABELS, y + _BAR - 3, row.name, end=True))
            body.append(
                f'<rect x="{_LABELS + 8}" y="{y}" width="{max(length, 1):.1f}" height="{_BAR}" rx="2" class="{kind}"/>'
            )
            body.append(_text(_LABELS + 14 + max(length, 1), y + _BAR - 3, told, "quiet"))
            y += _STEP
    height = y + 16
    head = f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">'
    paper = f'<rect width="{_WIDTH}" height="{height}" class="paper"/>'
    lines = [head, f"<title>{escape(title)}</title>", f"<style>{_STYLE}</style>", paper, *body, "</svg>"]
    return "\n".join(lines) + "\n"
