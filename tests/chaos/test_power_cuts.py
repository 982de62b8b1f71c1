"""The power of a board that publishes goes at random moments: what its outbox has accepted arrives all the same."""

import os
import random
import time

import pytest

from tests.chaos.scene import WINDOW, Scene

CUTS = int(os.environ.get("ROOTLET_CHAOS_CUTS", "20"))
SEED = int(os.environ.get("ROOTLET_CHAOS_SEED", "0")) or random.SystemRandom().randrange(1, 1 << 30)
_LONGEST_S = 2.5  # of a run: the start, the connection, and some readings under way


@pytest.mark.timeout(120 + 5 * CUTS)
def test_power_cuts(scene: Scene) -> None:
    rand = random.Random(SEED)
    board = scene.board("dev-1")
    board.wait_for("mqtt: connected")
    starts = [time.monotonic()]
    torn = 0
    for number in range(CUTS):
        moment = rand.uniform(0, _LONGEST_S)
        if number % 2:
            board.virtual.cut_at_write(rand.randint(1, 120), seed=rand.getrandbits(30))
            try:
                board.virtual.wait_off(_LONGEST_S)
                torn += 1
            except TimeoutError:
                board.virtual.power_cut()
        else:
            # The moment is what is tried here, whatever the board does: nothing to wait for.
            time.sleep(moment)
            board.virtual.power_cut()
        board.listen()
        starts.append(time.monotonic())
        board.virtual.power_on()
    board.wait_for("mqtt: connected", since=board.virtual.position)
    scene.record.wait_more("dev-1")
    try:
        board.check_all_arrived(60)
        again = [scene.record.repeated("dev-1", *times) for times in zip(starts, [*starts[1:], 1e18], strict=True)]
        assert max(again) <= WINDOW, again
        boots = {boot for boot, _ in board.accepted}
        assert len(boots) >= CUTS // 4, "too few of the runs were long enough to accept anything"
    except AssertionError as error:
        raise AssertionError(f"seed {SEED}: {error}") from error
    print(
        f"\nseed {SEED}: {CUTS} cuts, {torn} of them in the middle of a write; {len(board.accepted)} readings accepted "
        f"in {len(boots)} runs, none lost, {sum(again)} repeated (at most {max(again)} after a cut)"
    )


@pytest.mark.parametrize("after", [False, True])
def test_cut_at_each_change_of_a_name(after: bool, scene: Scene) -> None:
    """Segments are made, renamed and removed: the power goes at each of the first changes of a start."""
    board = scene.board("dev-1", start=False)
    with board.virtual:
        for number in range(1, 1 + int(os.environ.get("ROOTLET_CHAOS_CHANGES", "6"))):
            at = board.virtual.position
            scene.wire.refuse()
            scene.wire.cut()
            # Readings that are on flash only, when the start to be cut finds them.
            board.wait_for(r"(?s)accepted.*accepted.*accepted", since=at)
            board.virtual.power_cut()
            board.listen()
            scene.wire.accept()
            board.virtual.cut_at_change(number, after)
            board.virtual.power_on()
            try:
                board.virtual.wait_off(3)
            except TimeoutError:
                continue  # a start under load with fewer changes than that
            board.listen()
            board.virtual.power_on()
        board.virtual.power_cut()
        board.virtual.power_on()
        scene.record.wait_more("dev-1")
        board.check_all_arrived(60)
