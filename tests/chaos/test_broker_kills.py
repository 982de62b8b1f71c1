"""The broker is killed under ten boards: each message arrives, in order, and all boards are back soon."""

import os
import random
import time

import pytest

from tests.chaos.scene import Scene

KILLS = int(os.environ.get("ROOTLET_CHAOS_KILLS", "3"))
BOARDS = int(os.environ.get("ROOTLET_CHAOS_BOARDS", "10"))
_CAP_S = 6


@pytest.mark.timeout(180 + 30 * KILLS)
def test_broker_kills(scene: Scene) -> None:
    rand = random.Random(5)
    boards = [scene.board(f"dev-{n}", retry_first_s=1, retry_longest_s=_CAP_S) for n in range(BOARDS)]
    for board in boards:
        board.wait_for("mqtt: connected", 60)
    slowest = 0.0
    for _ in range(KILLS):
        for board in boards:
            scene.record.wait_more(board.name, rand.randint(1, 5))
        at = {board.name: board.virtual.position for board in boards}
        scene.kill_broker()
        for board in boards:
            board.wait_for("error: ", since=at[board.name])
        opened = scene.restart_broker()
        for board in boards:
            board.wait_for("mqtt: connected", 2 * _CAP_S + opened - time.monotonic(), since=at[board.name])
        slowest = max(slowest, time.monotonic() - opened)
        for board in boards:
            board.listen()
    for board in boards:
        board.check_all_arrived(60)
    accepted = sum(len(board.accepted) for board in boards)
    again = sum(scene.record.repeated(board.name, 0, 1e18) for board in boards)
    print(
        f"\n{KILLS} kills of the broker under {BOARDS} boards: {accepted} readings accepted, none lost, {again} "
        f"repeated; all boards back within {slowest:.1f} s (bound {_CAP_S} s)"
    )
