"""A rollout over a fleet: the stages, when it stops, and that no fleet, however it behaves, gets it wrong."""

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from host_tools.rollout import Action, Ask, Limits, Outcome, Rollout, State, Told, sizes

NEW, OLD = 20, 10


def online(version: int = OLD, **more: Any) -> dict[str, Any]:
    return {
        "status": "online",
        "version": "0.1.0",
        "tree_version": version,
        "trial": False,
        "rolled_back": None,
        **more,
    }


def asked(actions: list[Action]) -> list[str]:
    return [action.device for action in actions if isinstance(action, Ask)]


def said(actions: list[Action]) -> str:
    return "\n".join(action.text for action in actions if isinstance(action, Told))


def fleet(count: int, limits: Limits | None = None, there: bool = True) -> tuple[Rollout, list[Action]]:
    names = [f"d{i}" for i in range(count)]
    rollout = Rollout(names, dict.fromkeys(names, NEW), limits or Limits())
    for name in names if there else []:
        assert not rollout.status(name, online(), 0)
    return rollout, rollout.start(0)


def test_sizes_of_stages() -> None:
    assert sizes(0) == []
    assert sizes(1) == [1]
    assert sizes(2) == [1, 2]
    assert sizes(10) == [1, 10]
    assert sizes(11) == [1, 2, 11]
    assert sizes(100) == [1, 10, 100]
    assert sizes(1000) == [10, 100, 1000]
    assert sizes(1000, (50,)) == [500, 1000]


@given(st.integers(1, 100000), st.lists(st.floats(0.01, 100), min_size=1, max_size=6).map(sorted))
def test_sizes_of_any_fleet(count: int, stages: list[float]) -> None:
    found = sizes(count, stages)
    assert found[0] >= 1 and found[-1] == count
    assert all(a < b for a, b in zip(found, found[1:], strict=False))


def test_all_goes_well() -> None:
    rollout, actions = fleet(100)
    assert rollout.plan() == [(1, 1, 0), (2, 9, 0), (3, 90, 1)]
    assert asked(actions) == ["d0"]
    assert not rollout.reply("d0", {"id": "x", "command": "update", "ok": True}, 1)
    assert not rollout.status("d0", online(NEW, trial=True), 2)  # it runs, it has not worked
    assert not rollout.status("d0", {"status": "online", "tree_version": NEW}, 2)  # it does not say
    actions = rollout.status("d0", online(NEW), 3)
    assert asked(actions) == [f"d{i}" for i in range(1, 10)]
    for i in range(1, 10):
        actions = rollout.status(f"d{i}", online(NEW), 4)
        assert bool(actions) == (i == 9)
    assert len(asked(actions)) == 50  # at once
    for i in range(10, 100):
        assert rollout.outcome is Outcome.GOING
        actions = rollout.status(f"d{i}", online(NEW), 5)
        assert asked(actions) == ([f"d{i + 50}"] if i < 50 else [])
    assert rollout.outcome is Outcome.DONE


def test_the_first_failure_of_the_first_stage_stops_it() -> None:
    for event in ("reply", "rolled back", "silence", "old"):
        rollout, _ = fleet(100)
        if event == "reply":
            actions = rollout.reply("d0", {"command": "update", "ok": False, "error": {"code": "UPDATE_SIGNATURE"}}, 1)
        elif event == "rolled back":
            actions = rollout.status("d0", online(rolled_back=NEW), 60)
        elif event == "silence":  # it was there, and has not come back
            rollout.status("d0", {"status": "offline"}, 5)
            assert not rollout.tick(899)
            actions = rollout.tick(900)
        else:
            rollout.status("d0", online(NEW, trial=True), 5)
            actions = rollout.tick(901)
        assert rollout.outcome is Outcome.STOPPED and "1 failed in stage 1" in rollout.why, event
        assert "d0: failed" in said(actions) and not asked(actions)
        assert rollout.states()["d0"][0] is State.FAILED
        assert not rollout.status("d1", online(NEW), 902) and not rollout.tick(9999)


def test_two_percent_in_a_later_stage() -> None:
    rollout, _ = fleet(100)
    for i in range(10):
        rollout.status(f"d{i}", online(NEW), 1)
    rollout.status("d10", online(rolled_back=NEW), 20)
    assert rollout.outcome is Outcome.GOING
    rollout.status("d11", online(rolled_back=NEW), 20)
    assert rollout.outcome is Outcome.STOPPED


def test_a_device_that_is_not_there_is_no_failure_but_no_proof_either() -> None:
    rollout, actions = fleet(3, there=False)
    assert asked(actions) == ["d0"]
    actions = rollout.tick(900)
    assert rollout.states()["d0"][0] is State.ABSENT
    assert rollout.outcome is Outcome.STOPPED and "no device of stage 1" in rollout.why
    rollout, _ = fleet(3)
    rollout.status("d0", online(NEW), 1)
    rollout.status("d1", online(NEW), 1)
    assert rollout.outcome is Outcome.GOING
    rollout.status("d2", online(NEW), 1)
    assert rollout.outcome is Outcome.DONE


def test_one_that_comes_later_is_asked_when_it_comes() -> None:
    rollout, actions = fleet(1, there=False)
    assert asked(actions) == ["d0"]
    assert asked(rollout.status("d0", online(), 1)) == ["d0"]
    assert not asked(rollout.status("d0", online(), 2))  # it has been there since
    rollout.status("d0", online(NEW), 3)
    assert rollout.outcome is Outcome.DONE


def test_what_may_pass_is_tried_again() -> None:
    rollout, _ = fleet(1)
    no = {"command": "update", "ok": False, "error": {"code": "HTTP_TRUNCATED", "fact": "half"}}
    assert asked(rollout.reply("d0", no, 1)) == ["d0"]
    assert asked(rollout.reply("d0", no, 2)) == ["d0"]
    actions = rollout.reply("d0", no, 3)
    assert not asked(actions) and "HTTP_TRUNCATED: half" in said(actions)
    assert rollout.outcome is Outcome.STOPPED
    busy = {"command": None, "ok": False, "error": {"code": "COMMAND", "fact": "busy: too many commands at once"}}
    rollout, _ = fleet(1)
    assert asked(rollout.reply("d0", busy, 1)) == ["d0"]
    twice = {"command": "update", "ok": False, "error": {"code": "COMMAND", "fact": "this id came before"}}
    assert not rollout.reply("d0", {**twice, "repeated": True}, 2) and rollout.outcome is Outcome.GOING
    rollout, _ = fleet(1)
    assert asked(rollout.status("d0", online(), 11)) == ["d0"]  # back with the former one


def test_one_that_has_gone_back_before() -> None:
    for again in (False, True):
        rollout = Rollout(["d0"], {"d0": NEW}, Limits(again=again))
        rollout.status("d0", online(rolled_back=NEW), 0)
        actions = rollout.start(0)
        assert asked(actions) == (["d0"] if again else [])
        assert (rollout.outcome is Outcome.STOPPED) == (not again)
    assert not rollout.status("d0", online(rolled_back=NEW), 1)
    rollout.status("d0", online(rolled_back=NEW), 60)
    assert rollout.states()["d0"][0] is State.FAILED


def test_resumed() -> None:
    names = [f"d{i}" for i in range(20)]
    rollout = Rollout(names, dict.fromkeys(names, NEW), Limits(), confirmed=["d0", "d1", "gone"])
    actions = rollout.start(0)
    assert asked(actions) == names[2:]
    rollout = Rollout(names, dict.fromkeys(names, NEW), Limits(), confirmed=names)
    rollout.start(0)
    assert rollout.outcome is Outcome.DONE


def test_nonsense_is_let_go() -> None:
    rollout, _ = fleet(2)
    for value in (
        None,
        1,
        "x",
        [],
        {},
        {"status": "online"},
        {"version": NEW},
        {"command": 1, "ok": 0},
        {"ok": False, "command": "x"},
    ):
        for name in ("d0", "nobody"):
            assert not rollout.status(name, value, 1) and not rollout.reply(name, value, 1)


@given(st.integers(0, 10**9), st.integers(1, 300), st.sampled_from([0.0, 0.01, 0.1, 0.5]), st.booleans())
def test_any_fleet(seed: int, count: int, bad: float, drop: bool) -> None:
    """Devices that update, fail, vanish or answer twice: at most so many fail before it stops, and it always ends."""
    chance = random.Random(seed)
    names = [f"d{i}" for i in range(count)]
    rollout = Rollout(names, dict.fromkeys(names, NEW), Limits(timeout_s=100, at_once=7))
    for name in names:
        if not drop or chance.random() < 0.9:
            rollout.status(name, online(), 0)
    now = 0.0
    ever: set[str] = set()
    plan = rollout.plan()
    pending = asked(rollout.start(0))
    while rollout.outcome is Outcome.GOING:
        now += 1
        ever.update(pending)
        actions: list[Action] = []
        for name in pending:
            kind = chance.random()
            if kind < bad:
                how = chance.randrange(4)
                if how == 0:
                    actions += rollout.status(name, online(rolled_back=NEW), now)
                elif how < 3:  # for good, or to be tried again; else it is silent
                    code = "NET_CLOSED" if how == 1 else "UPDATE_SIGNATURE"
                    actions += rollout.reply(name, {"command": "update", "ok": False, "error": {"code": code}}, now)
            else:
                actions += rollout.status(name, online(NEW), now)
        pending = asked(actions)
        states = [state for state, _ in rollout.states().values()]
        assert states.count(State.ASKED) <= 7
        if not pending and rollout.outcome is Outcome.GOING:
            pending = asked(rollout.tick(now))
        assert now < 200 * count
    done = sum(size for _, size, _ in plan)
    assert done == count
    begin = 0
    for _, size, allowed in plan:
        members = names[begin : begin + size]
        failed = [name for name in members if rollout.states()[name][0] is State.FAILED]
        if len(failed) > allowed:
            assert rollout.outcome is Outcome.STOPPED
            assert len(failed) == allowed + 1
            assert not ever & set(names[begin + size :])
            break
        begin += size
    else:
        states = {state for state, _ in rollout.states().values()}
        assert rollout.outcome is Outcome.STOPPED or not states & {State.WAITING, State.ASKED}
