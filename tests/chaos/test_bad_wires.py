"""What lies between a board and its broker fails in other ways than by an end: silence, throwing out, garbage."""

import os
import random
import re
import time

import pytest

from host_tools.chaos import Faults
from tests.chaos.scene import KEEPALIVE_S, Scene

KICKS_S = float(os.environ.get("ROOTLET_CHAOS_KICKS_S", "10"))


@pytest.mark.parametrize("way", ["both", "down"])
def test_half_open(way: str, scene: Scene) -> None:
    """Noticed within 1.5 times the keepalive: from the fault to the line on the console, by the host's clock."""
    board = scene.board("dev-1")
    board.wait_for("mqtt: connected")
    scene.record.wait_more("dev-1")
    at = board.virtual.position
    if way == "both":
        scene.wire.blackhole()
    else:
        scene.wire.down = Faults(blackhole=True)
    began = time.monotonic()
    board.wait_for(r"error: MQTT_TIMEOUT", 3 * KEEPALIVE_S, since=at)
    noticed = time.monotonic() - began
    assert noticed < 1.5 * KEEPALIVE_S, f"noticed after {noticed:.1f} s"
    scene.wire.heal()
    board.wait_for("mqtt: connected", since=at)
    board.check_all_arrived()
    print(f"\nhalf-open ({way}): noticed after {noticed:.1f} s with a keepalive of {KEEPALIVE_S} s")


def test_half_open_while_nothing_is_sent(scene: Scene) -> None:
    """Without readings only the ping tells."""
    board = scene.board("dev-1", every_s=3600)
    board.wait_for("mqtt: connected")
    scene.record.wait_more("dev-1", 1)
    at = board.virtual.position
    scene.wire.blackhole()
    began = time.monotonic()
    board.wait_for(r"error: MQTT_TIMEOUT", 3 * KEEPALIVE_S, since=at)
    noticed = time.monotonic() - began
    assert noticed < 1.5 * KEEPALIVE_S, f"noticed after {noticed:.1f} s"
    scene.wire.heal()
    board.wait_for("mqtt: connected", since=at)


def expected_tries(seconds: float, first_s: float, longest_s: float) -> float:
    """Connections in so many seconds by full jitter: each pause is half its bound on average."""
    tries, at, bound = 1.0, 0.0, first_s
    while at + bound / 2 < seconds:
        at += bound / 2
        tries += 1
        bound = min(longest_s, bound * 2)
    return tries


@pytest.mark.parametrize("records", [None, 0, 1])
def test_a_broker_that_throws_out_at_once(records: int | None, scene: Scene) -> None:
    """As soon as it has accepted, after the handshake, or after its CONNACK: each try waits as the schedule says."""
    scene.wire.down = Faults(cut_after=0) if records is None else Faults(cut_at_application=records)
    board = scene.board("dev-1", every_s=0.5, retry_first_s=1, retry_longest_s=4)
    first = scene.wire.wait_connection(1, 30)
    with pytest.raises(TimeoutError):  # for so long nothing else happens
        board.wait_for("first reading published", KICKS_S)
    tries = [moment - first for moment in list(scene.wire.accepted) if moment - first < KICKS_S]
    # The sum of n pauses, each uniform up to its bound, strays from its mean by less than 3 of its deviations.
    most = expected_tries(KICKS_S, 1, 4)
    assert len(tries) <= most + 3 * (most / 3) ** 0.5 + 1, tries
    assert len(tries) >= 3, tries
    gaps = [after - before for before, after in zip(tries, tries[1:], strict=False)]
    for number, gap in enumerate(gaps):
        assert gap < min(4, 2**number) + 2.5, gaps  # and the time the connection itself took
    assert max(gaps) > 1, gaps  # the bound grows although the handshake succeeds
    scene.wire.heal()
    scene.record.wait_more("dev-1")
    board.check_all_arrived()
    print(f"\n{len(tries)} tries in {KICKS_S:g} s, expected {most:g}: {[round(gap, 1) for gap in gaps]}")


@pytest.mark.parametrize("way", ["up", "down"])
def test_garbage_on_the_wire(way: str, scene: Scene) -> None:
    """Bytes added or changed, in the handshake or under way: the connection ends, and the next one is good."""
    rand = random.Random(7)
    board = scene.board("dev-1")
    board.wait_for("mqtt: connected")
    for turn in range(4):
        scene.record.wait_more("dev-1")
        at = board.virtual.position
        garbage = rand.randbytes(rand.randint(1, 2000)) if turn % 2 else b""
        faults = Faults(garbage_at=rand.randrange(300), garbage=garbage)
        scene.wire.set(**{way: faults})
        board.wait_for(r"error: (NET|TLS|MQTT|CERT)_\w+", 3 * KEEPALIVE_S + 5, since=at)
        scene.wire.heal()
        board.wait_for("mqtt: connected", since=at)
    board.check_all_arrived()


def test_slow_and_cut_now_and_then(scene: Scene) -> None:
    """A mobile network on a bad day: late, narrow, and reset after some kilobytes."""
    board = scene.board("dev-1")
    scene.wire.set(up=Faults(delay_ms=100, jitter_ms=100, bytes_per_s=20_000, cut_after=9_000, reset=True))
    accepted = len(scene.wire.accepted)
    scene.wire.wait_connection(accepted + 4, 60)
    scene.wire.heal()
    scene.record.wait_more("dev-1")
    board.check_all_arrived(60)


def test_refused_and_reset(scene: Scene) -> None:
    board = scene.board("dev-1")
    board.wait_for("mqtt: connected")
    for reset in (True, False):
        scene.record.wait_more("dev-1")
        at = board.virtual.position
        scene.wire.refuse()
        scene.wire.cut(reset)
        board.wait_for("error: TCP_REFUSED", since=at)
        scene.wire.accept()
        board.wait_for("mqtt: connected", since=at)
    board.check_all_arrived()
    assert not re.search(r"Traceback", board.virtual.output)
