"""The publishing group in its quick form, on a virtual board with a real broker: rows, units, and what is no speed."""

import math
from pathlib import Path
from typing import Any

import pytest

from host_tools import boards, broker
from host_tools.bench import place, publish, run
from host_tools.bench.place import VirtualPlace
from host_tools.bench.rows import Row, ratios
from host_tools.failure import Failure

GROUPS = {
    "publish, QoS 1": "messages/s",
    "publish, QoS 0": "messages/s",
    "publish, by window": "messages/s",
    "latency to PUBACK": "ms",
    "latency of QoS 0 there and back": "ms",
    "publish, through the outbox": "messages/s",
    "publish, processor time a message": "µs",
    "publish, garbage a message": "B",
}


@pytest.fixture(scope="module")
def rows() -> list[Row]:
    if broker.choose("auto") != "mosquitto":
        pytest.skip("Mosquitto is not installed")
    with VirtualPlace() as where:
        return publish.measure(where, quick=True)


def test_each_group_has_rows_with_its_unit(rows: list[Row]) -> None:
    assert {row.group: row.unit for row in rows} == GROUPS
    assert len({(row.group, row.name) for row in rows}) == len(rows)
    assert all(math.isfinite(value) and value > 0 for row in rows for value in row.values)
    found = ratios(rows)
    assert len(found) == sum(row.to is not None for row in rows)


def test_percentiles_are_in_order(rows: list[Row]) -> None:
    by_name = {(row.group, row.name): row.median for row in rows}
    pairs = [(key, (key[0], key[1].replace("p50", "p99"))) for key in by_name if "p50" in key[1]]
    assert pairs
    assert all(by_name[p50] <= by_name[p99] for p50, p99 in pairs)


def test_a_publish_makes_little_garbage(rows: list[Row]) -> None:
    [ours] = [row for row in rows if row.name == "64 B: rootlet, window full"]
    assert ours.median <= 400  # bytes on a 64-bit interpreter, of which the packet itself is 128


def test_the_full_form_covers_what_is_promised() -> None:
    rows = [row for _, kinds in publish.steps(quick=False) for row in kinds]
    names = {(row["group"], row["name"]) for row in rows}
    for size in ("16 B", "64 B", "256 B", "1 KB", "4 KB"):
        for group in ("publish, QoS 1", "publish, QoS 0"):
            assert {(group, f"{size}: {who}") for who in ("bare loop", "stock umqtt.simple", "rootlet")} <= names
    for window in (1, 4, 16, 64):
        assert ("publish, by window", f"window of {window}: rootlet") in names
    assert all(any(other["name"] == row.get("to", row["name"]) for other in rows) for row in rows)
    # Of the outbox each way promises something, also the slowest.
    ways = [row for row in rows if row["group"] == "publish, through the outbox" and "to" in row]
    assert len(ways) == 3
    assert all(row["promised"] for row in ways)


def test_a_result_has_its_place_and_versions() -> None:
    with VirtualPlace() as where:
        result = run.run(where, ["sizes"], True, lambda name: None)
    facts: dict[str, Any] = result["place"]
    assert (facts["board"], facts["virtual"], facts["bits"], facts["hz"]) == ("pico_w", True, 64, None)
    assert facts["micropython"].count(".") == 2
    assert facts["heap_bytes"] == pytest.approx(boards.load("pico_w")["sim_heap_bytes"], rel=0.2)
    assert result["machine"]["cores"] and result["versions"]["umqtt.simple"]


def test_a_script_that_fails_is_named_with_its_words(tmp_path: Path) -> None:
    silent = tmp_path / "silent.py"
    silent.write_text("print('nothing to say')")
    with VirtualPlace() as where, pytest.raises(Failure) as e:
        where.run(silent, {}, {})
    assert "silent.py" in e.value.what and "nothing to say" in e.value.because


def test_job_and_files_reach_the_script(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "import json, os\n"
        "found = [json.load(open('bench.json')), open('a/b.txt').read(), 'main.py' in os.listdir()]\n"
        "print('result', json.dumps(found))\n"
    )
    source = tmp_path / "source"
    source.write_text("words")
    with VirtualPlace() as where:
        found = where.run(script, {"n": 1}, {"a/b.txt": source})
    assert found == [[{"n": 1}, "words", False]]
    assert not list(place.ON_BOARD.glob("*.mpy"))
