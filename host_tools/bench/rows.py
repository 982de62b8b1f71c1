"""What was measured: rows of values, one a round, told as ratios to another row of the same group."""

import json
import statistics
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal


@dataclass(frozen=True)
class Row:
    """One measured thing.

    Args:
        group, name: what it is called; the pair is unique. unit: of the values: "messages/s", "ms", "B", …
        values: one a round. Rounds of the rows of a group are interleaved, so values[i] of two rows belong together.
        to: name of the row of the same group that this is told as a ratio to.
        better: whether more or less of the unit is better. note: a few words for the table.
        allowance: how much worse than the reference's the ratio may be, as a part of it, see check.
        promised: the ratio that the project promises: at least (better "more") or at most.
        headline: it stands in the README too.
    """

    group: str
    name: str
    unit: str
    values: tuple[float, ...]
    to: str | None = None
    better: Literal["more", "less"] = "more"
    note: str = ""
    allowance: float = 0.3
    promised: float | None = None
    headline: bool = False

    def __post_init__(self) -> None:
        if not self.values:
            raise ValueError(f"{self.group}, {self.name}: no values")

    @property
    def median(self) -> float:
        """The middle one of the values."""
        return statistics.median(self.values)

    @property
    def spread(self) -> float:
        """How far the values are apart, as a part of the median."""
        return (max(self.values) - min(self.values)) / self.median if self.median else 0.0


def number(value: float) -> str:
    """Three digits that count, with thousands set apart; whole numbers whole."""
    if value == int(value) or abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def ratios(rows: Iterable[Row]) -> dict[tuple[str, str], float]:
    """(group, name) to ratio, for the rows that have one: the median of the rounds' ratios.

    Rounds are compared one by one, since the machine is not equally fast in all of them. Raises ValueError where the
    row that a ratio is to is absent.
    """
    rows = list(rows)
    by_name = {(row.group, row.name): row for row in rows}
    found = {}
    for row in rows:
        if row.to is None:
            continue
        other = by_name.get((row.group, row.to))
        if other is None:
            raise ValueError(f"{row.group}, {row.name}: there is no row {row.to!r} to compare with")
        if len(row.values) == len(other.values) and all(other.values):
            found[row.group, row.name] = statistics.median(a / b for a, b in zip(row.values, other.values, strict=True))
        elif other.median:
            found[row.group, row.name] = row.median / other.median
    return found


def to_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The rows as they stand in build/bench.json: fields, median, spread and ratio."""
    rows = list(rows)
    found = ratios(rows)
    return [
        asdict(row) | {"median": row.median, "spread": row.spread, "ratio": found.get((row.group, row.name))}
        for row in rows
    ]


def from_json(data: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Rows again. Raises KeyError, TypeError, ValueError on what is none."""
    rows = []
    for item in data:
        fields: dict[str, Any] = {key: item[key] for key in Row.__dataclass_fields__ if key in item}
        rows.append(Row(**fields | {"values": tuple(item["values"])}))
    return rows


def parse_results(output: str) -> list[dict[str, Any]]:
    """The "result {json}" lines among what a script printed."""
    return [json.loads(line.removeprefix("result ")) for line in output.splitlines() if line.startswith("result ")]
