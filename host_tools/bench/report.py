"""Writes what was measured: build/bench.json, build/bench.md."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from host_tools.bench.rows import Row, ratios, to_json
from host_tools.paths import BUILD


def number(value: float) -> str:
    """Three digits that count, with thousands set apart; whole numbers whole."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(rows: Iterable[Row]) -> list[str]:
    """The rows of one group as a Markdown table."""
    rows = list(rows)
    found = ratios(rows)
    lines = ["| | median | spread | ratio | to |", "|---|---:|---:|---:|---|"]
    for row in rows:
        ratio = found.get((row.group, row.name))
        told = "" if ratio is None else number(ratio)
        note = f" ({row.note})" if row.note else ""
        cells = (f"{row.name}{note}", f"{number(row.median)} {row.unit}", f"{row.spread:.0%}", told, row.to or "")
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def markdown(result: dict[str, Any]) -> str:
    """All groups, each with its table."""
    rows: list[Row] = result["rows"]
    place, machine = result["place"], result["machine"]
    program = f"MicroPython {place['micropython']} ({place['bits']}-bit)"
    lines = [
        "# Measurements",
        "",
        f"{result['date']}, {place['board']}, {program}; {machine['cpu']}.",
    ]
    for group in dict.fromkeys(row.group for row in rows):
        lines += ["", f"## {group}", "", *table(row for row in rows if row.group == group)]
    return "\n".join(lines) + "\n"


def write(result: dict[str, Any], folder: Path = BUILD) -> list[Path]:
    """Write the files. Args: result: of run.run. Returns their paths."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        "bench.json": json.dumps(result | {"rows": to_json(result["rows"])}, indent=1) + "\n",
        "bench.md": markdown(result),
    }
    for name, text in files.items():
        (folder / name).write_text(text)
    return [folder / name for name in files]
