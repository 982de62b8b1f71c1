"""The measurements of handshakes, memory and the start, in their quick form: their shape, and what is no speed."""

from typing import Any

import pytest

from host_tools.bench import handshakes, memory, startup
from host_tools.bench.place import VirtualPlace
from host_tools.bench.rows import Row, ratios


@pytest.fixture(scope="module")
def place() -> Any:
    with VirtualPlace() as here:
        yield here


def by_name(rows: list[Row], group: str) -> dict[str, Row]:
    found = {row.name: row for row in rows}
    assert len(found) == len(rows), "two rows of one name"
    assert {row.group for row in rows} == {group}
    ratios(rows)  # all that they refer to is there
    return found


def test_handshakes_of_each_way_are_told_against_a_bare_one(place: VirtualPlace) -> None:
    found = by_name(handshakes.measure(place, quick=True), "handshakes")
    assert handshakes.BARE in found
    for chain in ("p256", "p256, mutual", "p256, 2 sent"):
        for way in ("bare", "embedded", "first contact", "remembered"):
            row = found[f"{chain}, {way}"]
            assert row.unit == "ms" and len(row.values) == 2 and min(row.values) > 0
            assert row.to == (None if row.name == handshakes.BARE else handshakes.BARE)
    assert found["p256, peek"].promised == handshakes.PEEK_LIMIT


def test_the_cases_in_full_are_all_key_types_and_lengths() -> None:
    cases = handshakes._cases(quick=False)
    assert {kind for kind, _, _ in cases} == {"p256", "p384", "rsa2048", "rsa3072", "rsa4096"}
    for kind in {kind for kind, _, _ in cases}:
        assert [(n, mutual) for k, n, mutual in cases if k == kind] == [(1, False), (1, True), (2, False), (3, False)]


def test_a_start_by_phase(place: VirtualPlace) -> None:
    found = by_name(startup.measure(place, quick=True), "startup")
    for form in ("files", "frozen"):
        parts = [found[f"{form}: {name}"].values[0] for _, name in startup.PHASES]
        whole = found[f"{form}: reset to PUBACK"].values[0]
        assert whole == pytest.approx(sum(parts))
        assert all(part >= 0 for part in parts)
        assert found[f"{form}: TLS handshake"].values[0] > 1
        # WiFi joins while all is loaded, and takes its own time at least.
        joined = found[f"{form}: imports (WiFi joins meanwhile)"].values[0] + found[f"{form}: WiFi joined"].values[0]
        assert joined >= startup.gateways.JOIN_MS - 1
        assert found[f"{form}: the firmware's own"].promised == startup.LIMIT


def test_marks_in_another_order_still_add_up() -> None:
    marks = {"boot": 1000.0, "wifi": 9000.0, "imports": 12000.0, "puback": 20000.0}
    found = startup.phases(marks)
    assert sum(found.values()) == 20.0 and found["WiFi joined"] == 0 and min(found.values()) == 0


# Bytes are exact: more than these the 64-bit interpreter must not need, above itself with its built-in modules.
MOST = {"loaded": 145_000, "handshake": 138_000, "steady": 137_000}
MOST_FROZEN = {"loaded": 95_000, "handshake": 87_000, "steady": 86_000}


def test_memory_of_the_running_gateway_and_of_each_module(place: VirtualPlace) -> None:
    found = by_name(memory.measure(place, quick=True), "memory")
    for form, most in ((".mpy", MOST), ("frozen", MOST_FROZEN)):
        steps = {step: found[f"gateway, {step}, {form}"].values[0] for step in memory.STEPS}
        assert steps["configuration"] < steps["loaded"]
        for step, limit in most.items():
            assert limit * 0.9 < steps[step] <= limit, (form, steps)
    assert found["all modules of it, frozen"].values[0] < 0.6 * found["all modules of it, .mpy"].values[0]
    for name in memory.order():
        assert found[f"{name}, .mpy"].unit == "B" and f"{name}, flash" in found


def test_modules_are_loaded_after_what_they_need() -> None:
    order = memory.order(("gateway",))
    for first, later in (
        ("errors", "trust"),
        ("trust", "judge"),
        ("judge", "tls"),
        ("tls", "mqtt"),
        ("link", "gateway"),
    ):
        assert order.index(first) < order.index(later)
    assert order[-1] == "gateway" and len(set(order)) == len(order)
