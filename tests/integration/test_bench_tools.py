"""The measurements of the host tools, in their quick form: their shape, and what is no speed."""

import pytest

from host_tools.bench import page, run, tools
from host_tools.bench.place import VirtualPlace
from host_tools.bench.rows import Row, ratios

LAGS = ("dashboard: lag, median", "dashboard: lag, 99th percentile")


def by_name(rows: list[Row]) -> dict[str, Row]:
    found = {row.name: row for row in rows}
    assert len(found) == len(rows), "two rows of one name"
    assert {row.group for row in rows} == {tools.GROUP}
    assert all(len(row.values) == 1 and row.values[0] > 0 for row in rows)
    told = ratios(rows)  # all that they refer to is there
    assert {name for _, name in told} == {row.name for row in rows if row.to}
    return found


def test_provisioning_is_told_against_the_cryptography_alone() -> None:
    found = by_name(tools.provisioning("pico_w", quick=True))
    assert {(row.name, row.unit, row.to, row.better) for row in found.values()} == {
        (tools.BARE, "devices/s", None, "more"),
        ("provision: the command", "devices/s", tools.BARE, "more"),
        ("provision: again, all kept", "devices/s", tools.BARE, "more"),
    }


def test_deploying_is_told_against_the_first_time() -> None:
    with VirtualPlace() as place:
        rows = tools.deploying(place, quick=True)
    found = by_name(rows)
    assert {(row.name, row.unit, row.to, row.better) for row in found.values()} == {
        (tools.FIRST, "s", None, "less"),
        ("deploy: one changed file", "s", tools.FIRST, "less"),
        ("deploy: unchanged", "s", tools.FIRST, "less"),
    }


@pytest.mark.skipif(bool(page.absent()), reason="the extra `dashboard` is not installed")
def test_the_page_is_told_against_its_tick() -> None:
    with VirtualPlace() as place:
        found = by_name(tools.showing(place, quick=True))
    assert found[tools.TICK].values == (500.0,) and found[tools.TICK].to is None
    for name in LAGS:
        assert (found[name].unit, found[name].to, found[name].better) == ("ms", tools.TICK, "less")
    assert found[LAGS[0]].values[0] <= found[LAGS[1]].values[0]


def test_without_the_extra_the_tick_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(page, "_NEEDS", ("no_such_module",))
    with VirtualPlace() as place:
        [row] = tools.showing(place, quick=True)
    assert row.name == tools.TICK and "no_such_module" in row.note


def test_the_group_stays_with_the_virtual_board() -> None:
    assert tools.GROUP in run.chosen([]) and tools.GROUP not in run.chosen([], virtual=False)
    assert run.GROUPS.index(tools.GROUP) == run.GROUPS.index("startup") + 1
