"""Writes what was measured: build/bench.json, build/bench.md, build/bench.svg, and the table of the README."""

import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from host_tools.bench import chart
from host_tools.bench.rows import Row, number, ratios, to_json
from host_tools.failure import Exit, Failure
from host_tools.paths import BUILD, ROOT

README = ROOT / "README.md"
BEGIN, END = "<!-- figures: made by `rootlet bench --readme` -->", "<!-- figures: end -->"


def where(result: dict[str, Any]) -> str:
    """One line: date, board, machine and versions."""
    place, machine, versions = result["place"], result["machine"], result["versions"]
    kind = "virtual " if place["virtual"] else ""
    clock = f" at {place['hz'] / 1e6:.0f} MHz" if place["hz"] else ""
    host = f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}"
    programs = ", ".join(f"{name} {version}" for name, version in versions.items())
    quick = "; quick form, of little weight" if result["quick"] else ""
    board = f"{kind}{place['board']}{clock}, MicroPython {place['micropython']} ({place['bits']}-bit)"
    return f"{result['date']}: {board}; {host}; {programs}{quick}."


def table(rows: Iterable[Row]) -> list[str]:
    """The rows of one group as a Markdown table."""
    rows = list(rows)
    found = ratios(rows)
    lines = ["| | median | spread | ratio | to | promised |", "|---|---:|---:|---:|---|---:|"]
    for row in rows:
        ratio = found.get((row.group, row.name))
        bound = "≥" if row.better == "more" else "≤"
        cells = (
            f"{row.name} ({row.note})" if row.note else row.name,
            f"{number(row.median)} {row.unit}",
            f"{row.spread:.0%}",
            "" if ratio is None else number(ratio),
            row.to or "",
            "" if row.promised is None else f"{bound} {number(row.promised)}",
        )
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def markdown(result: dict[str, Any]) -> str:
    """All groups, each with its table."""
    rows: list[Row] = result["rows"]
    lines = ["# Measurements", "", where(result)]
    for group in dict.fromkeys(row.group for row in rows):
        lines += ["", f"## {group}", "", *table(row for row in rows if row.group == group)]
    return "\n".join(lines) + "\n"


def headlines(result: dict[str, Any]) -> str:
    """The rows that stand in the README: what, how much, and how that is to its peer or its limit."""
    rows: list[Row] = result["rows"]
    found = ratios(rows)
    lines = [where(result), "", "| measured | | ratio | to |", "|---|---:|---:|---|"]
    for row in rows:
        if row.headline:
            ratio = found.get((row.group, row.name))
            told = "" if ratio is None else number(ratio)
            cells = (f"{row.group}, {row.name}", f"{number(row.median)} {row.unit}", told, row.to or "")
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def into_readme(result: dict[str, Any], path: Path = README) -> None:
    """Put the table between the two markers. Raises Failure where they are not there."""
    text = path.read_text(encoding="utf-8")
    made, count = re.subn(
        f"{re.escape(BEGIN)}\n.*?{re.escape(END)}",
        lambda _: f"{BEGIN}\n{headlines(result)}{END}",
        text,
        flags=re.DOTALL,
    )
    if count != 1:
        because = f"{count} places are marked"
        raise Failure(f"{path} has no place for the table", because, f"put {BEGIN} and {END} on lines", Exit.USAGE)
    path.write_text(made, encoding="utf-8")


def as_json(result: dict[str, Any]) -> str:
    """The text of build/bench.json, which docs/bench-reference.json is a copy of."""
    return json.dumps(result | {"rows": to_json(result["rows"])}, indent=1, ensure_ascii=False) + "\n"


def write(result: dict[str, Any], folder: Path = BUILD) -> list[Path]:
    """Write the files. Args: result: of run.run. Returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "bench.json": as_json(result),
        "bench.md": markdown(result),
        "bench.svg": chart.svg(result["rows"], where(result)),
    }
    for name, text in files.items():
        (folder / name).write_text(text, encoding="utf-8")
    return [folder / name for name in files]
