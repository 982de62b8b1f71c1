"""Compares measurements with the committed ones, by their ratios: seconds say more of the machine than of the code."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from host_tools.bench.rows import Row, from_json, number, ratios
from host_tools.failure import Exit, Failure
from host_tools.paths import ROOT

REFERENCE = ROOT / "docs" / "bench-reference.json"


@dataclass(frozen=True)
class Found:
    """What a comparison found: sentences. worse and broken fail; the rest is told."""

    worse: list[str]
    broken: list[str]  # promises
    new: list[str]
    gone: list[str]


def _name(key: tuple[str, str]) -> str:
    return f"{key[0]}: {key[1]}"


def compare(rows: Iterable[Row], reference: Iterable[Row]) -> Found:
    """Each ratio against the reference's, and against what is promised.

    A row's own allowance counts, not the reference's. Only groups that were measured are looked at.
    """
    rows, reference = list(rows), list(reference)
    ours, theirs = ratios(rows), ratios(reference)
    worse, broken = [], []
    for row in rows:
        key = (row.group, row.name)
        if key not in ours:
            continue
        ratio, less = ours[key], row.better == "less"
        if row.promised is not None and (ratio > row.promised if less else ratio < row.promised):
            bound = "at most" if less else "at least"
            broken.append(f"{_name(key)} is {number(ratio)} of {row.to}; promised is {bound} {number(row.promised)}")
        if key in theirs:
            before = theirs[key]
            limit = before * (1 + row.allowance) if less else before / (1 + row.allowance)
            if ratio > limit if less else ratio < limit:
                told = f"{_name(key)} is {number(ratio)} of {row.to}; it was {number(before)}"
                worse.append(f"{told}, and {row.allowance:.0%} worse is allowed")
    groups = {row.group for row in rows}
    here = {(row.group, row.name) for row in rows}
    there = {(row.group, row.name) for row in reference if row.group in groups}
    return Found(
        worse, broken, [_name(key) for key in sorted(here - there)], [_name(key) for key in sorted(there - here)]
    )


def read(path: Path = REFERENCE) -> list[Row]:
    """The rows of a reference. Raises Failure."""
    try:
        return from_json(json.loads(path.read_text(encoding="utf-8"))["rows"])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        because = str(error) or type(error).__name__
        raise Failure(
            "the reference cannot be read", f"{path}: {because}", "git checkout docs/bench-reference.json"
        ) from None


def check(rows: Iterable[Row], path: Path = REFERENCE) -> list[str]:
    """Compare with the reference. Returns lines on rows that are new or gone. Raises Failure naming what is worse."""
    found = compare(rows, read(path))
    bad = found.worse + found.broken
    told = [f"new: {name}" for name in found.new] + [f"gone: {name}" for name in found.gone]
    if bad:
        what = f"{len(bad)} measurement{'s are' if len(bad) > 1 else ' is'} worse than allowed"
        raise Failure(what, "; ".join(bad), "rootlet bench --check, on a quiet machine", Exit.FAILED)
    return told
