"""A page of any size takes a bounded part of the heap, on a virtual board, measured by the benchmark's script."""

import math

import pytest

from host_tools.bench import fetch
from host_tools.bench.place import VirtualPlace
from host_tools.bench.rows import ratios

OURS = ("readinto", "pieces")
LIVE_LIMIT = 8 * 1024  # bytes above the socket alone, where what is thrown away is collected


@pytest.fixture(scope="module")
def heap():
    """(way, bytes, framing): what the script found, for the heap alone."""
    asked = [{"way": way, "bytes": fetch.LARGEST, "framing": "counted"} for way in ("raw", *OURS)]
    asked += [{"way": way, "bytes": fetch.LARGEST, "framing": "chunked"} for way in ("raw", *OURS, "whole")]
    asked += [{"way": way, "bytes": 32 << 10, "framing": "counted"} for way in ("raw", "whole")]
    with VirtualPlace() as place:
        found = fetch.fetch(place, asked, rounds=0)
    return {(row["way"], row["bytes"], row["framing"]): row for row in found}


@pytest.mark.parametrize("way", OURS)
def test_a_megabyte_takes_at_most_12_kb_more_than_the_socket_with_all_its_garbage(heap, way):
    key = (fetch.LARGEST, "counted")
    assert heap[way, *key]["heap"] - heap["raw", *key]["heap"] <= fetch.HEAP_LIMIT == 12 * 1024


@pytest.mark.parametrize("framing", ["counted", "chunked"])
@pytest.mark.parametrize("way", OURS)
def test_what_a_megabyte_holds_at_a_time(heap, way, framing):
    key = (fetch.LARGEST, framing)
    assert heap[way, *key]["live"] - heap["raw", *key]["live"] <= LIVE_LIMIT


def test_a_body_of_known_size_is_held_once(heap):
    key = (32 << 10, "counted")
    above = heap["whole", *key]["heap"] - heap["raw", *key]["heap"]
    assert 32 << 10 <= above + 4096 <= (32 << 10) + fetch.HEAP_LIMIT


def test_a_body_larger_than_the_heap_ends_in_a_memory_error_not_in_a_reset(heap):
    assert "MemoryError" in heap["whole", fetch.LARGEST, "chunked"]["failed"]


def test_the_rows_of_the_benchmark():
    with VirtualPlace() as place:
        rows = fetch.measure(place, quick=True)
    units = {row.group: row.unit for row in rows}
    assert units == {
        "fetch, with the connection": "ms",
        "fetch, the body": "KB/s",
        "fetch, processor time for the body": "ms",
        "fetch, heap above the TLS socket": "B",
    }
    assert len({(row.group, row.name) for row in rows}) == len(rows)
    assert all(math.isfinite(value) for row in rows for value in row.values)
    assert len(ratios(rows)) == sum(row.to is not None for row in rows)
    assert {row.promised for row in rows if row.headline} == {None, fetch.SPEED_LIMIT, 1.0}
    planned = {(row["way"], row["bytes"]) for row in fetch.plan(quick=False)}
    assert {(way, size) for way in ("raw", *OURS) for size in fetch.SIZES} <= planned
