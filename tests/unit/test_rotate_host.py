"""rotate, the host's side alone: what it refuses, what it leaves behind, and how it finishes what was cut off."""

import fcntl
import hashlib
import json
import os
import pty
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tools import ca, deploy, rotate
from host_tools.failure import Exit, Failure
from host_tools.sim.child import make_raw


class Board:
    """Answers the calls of the rotation as a board would; keeps them."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.facts: dict[str, Any] = {
            "device": "dev-1", "cert": "device.crt.der", "key": "device.key.der", "trust": "trust_roots",
            "roots": "roots.bin", "pins": {}, "active": None, "slots": {}, "free": 500000,
        }  # fmt: skip
        self.trial = "trial ok"
        self.restart: str | None = None
        self.resets = 0
        self.slot: dict[str, Path] = {}

    def mpremote(self, port: str, *arguments: str, timeout_s: float = 0, cwd: Path | None = None) -> str:
        text = " ".join(arguments)
        self.calls.append(text)
        if "facts()" in text:
            return f"facts {json.dumps(self.facts)}\n"
        if "trial(" in text:
            return f"slots using slot a\n{self.trial}\n"
        return ""

    def wait(self, port: str, patterns: tuple[str, ...], timeout_s: float) -> str | None:
        self.calls.append("restart")
        return self.restart

    def reset(self, port: str) -> None:
        self.resets += 1


@pytest.fixture
def board(monkeypatch: pytest.MonkeyPatch) -> Board:
    made = Board()
    monkeypatch.setattr(deploy, "_mpremote", made.mpremote)
    monkeypatch.setattr(deploy, "reset", made.reset)
    monkeypatch.setattr(rotate, "restart_and_wait", made.wait)
    return made


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return ca.init(tmp_path / "ca").directory


def run(directory: Path, **changes: Any) -> list[str]:
    lines: list[str] = []
    device = changes.pop("device", "dev-1")
    rotate.run("port", rotate.Request(device, directory, **changes), lambda: ca.load(directory), lines.append)
    return lines


def refused(directory: Path, **changes: Any) -> Failure:
    with pytest.raises(Failure) as e:
        run(directory, **changes)
    assert len(str(e.value).splitlines()) == 3
    return e.value


def issued(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (directory / "issued").glob("*")}


def test_what_is_asked_for_is_checked_before_the_board_is_touched(board: Board, directory: Path) -> None:
    for changes, words in (
        ({"identity": False}, "nothing to rotate"),
        ({"device": "../dev-1"}, "no device id"),
        ({"device": ".."}, "no device id"),
        ({"device": ""}, "no device id"),
        ({"trust": directory / "none.mpy"}, "is no file"),
        ({"pins": ("sha1//AAAA",)}, "is no pin"),
        ({"pins": ("sha256//AAAA",)}, "is no pin"),
        ({"pins": ("sha256//" + "A" * 43 + "=",) * 5}, "too many pins"),
    ):
        failure = refused(directory, **changes)  # type: ignore[arg-type]
        assert words in failure.what
        assert failure.code == Exit.USAGE
    assert refused(directory / "none").code == Exit.USAGE
    assert not board.calls and not board.resets


def test_a_board_that_cannot_be_rotated(board: Board, directory: Path) -> None:
    board.facts["device"] = "other"
    failure = refused(directory)
    assert "it is 'other', not 'dev-1'" in failure.because and failure.code == Exit.USAGE
    board.facts.update(device="dev-1", cert=None)
    assert "no mqtt.cert" in refused(directory).because
    board.facts.update(cert="device.crt.der", free=8000)
    assert "too full" in refused(directory).what
    assert board.resets == 3  # its program was stopped each time
    assert not issued(directory)


def test_a_board_with_older_firmware(board: Board, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def old(*_: Any, **__: Any) -> str:
        raise Failure("the board refused", "ImportError: no module named 'rootlet.rotation'", "")

    monkeypatch.setattr(deploy, "_mpremote", old)
    assert "rootlet deploy" in refused(directory).try_


def test_key_and_certificate_reach_issued_only_in_the_end(board: Board, directory: Path) -> None:
    seen: dict[str, list[str]] = {}
    staged = directory / "rotations" / "dev-1" / "issued"

    def say(line: str) -> None:
        seen[line.partition(" ")[2]] = sorted(issued(directory))
        for path in staged.glob("*.key.*"):
            assert path.stat().st_mode & 0o777 == 0o600

    rotate.run("port", rotate.Request("dev-1", directory), lambda: ca.load(directory), say)
    assert all(not names for step, names in seen.items() if step in dict(rotate.STEPS))
    assert sorted(issued(directory)) == [
        f"device-dev-1.{ending}" for ending in ("crt.der", "crt.pem", "key.der", "key.pem")
    ]
    for path in (directory / "issued").glob("*.key.*"):
        assert path.stat().st_mode & 0o777 == 0o600
    assert not staged.parent.exists()
    assert (directory / "rotations").stat().st_mode & 0o077 == 0
    first = issued(directory)
    run(directory)
    assert issued(directory)["device-dev-1.key.der.bak"] == first["device-dev-1.key.der"]


def test_a_failed_trial_leaves_nothing(board: Board, directory: Path) -> None:
    board.trial = "trial failed TLS_REFUSED: the server ended it; it sent a fatal alert; try: check the certificate"
    failure = refused(directory)
    assert failure.code == Exit.UNVERIFIED
    assert failure.because == "TLS_REFUSED: the server ended it; it sent a fatal alert"
    assert failure.try_ == "check the certificate"
    assert "switch" not in "".join(board.calls)
    assert "clear('a')" in board.calls[-1] and board.resets == 1
    assert not (directory / "rotations" / "dev-1").exists() and not issued(directory)


def test_a_board_that_does_not_come_back_is_switched_back(board: Board, directory: Path) -> None:
    board.facts.update(active="b", slots={"b": {"made": 1, "files": {}, "tried": True}})
    board.restart = "error: TCP_REFUSED"
    failure = refused(directory)
    assert failure.code == Exit.UNVERIFIED and "TCP_REFUSED" in failure.because
    assert [call.split("rotation.")[-1] for call in board.calls[-3:]] == ["restart", "switch('b')", "clear('a')"]
    assert board.resets == 1 and not issued(directory)


def cut(step: str, directory: Path, **changes: Any) -> None:
    """A rotation that ends before a step without any clearing up."""

    def say(line: str) -> None:
        if line.endswith(f" {step}"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        rotate.run("port", rotate.Request("dev-1", directory, **changes), lambda: ca.load(directory), say)


def switched(board: Board, directory: Path) -> bytes:
    """The board uses in slot a what is staged here."""
    cert = (directory / "rotations" / "dev-1" / "issued" / "device-dev-1.crt.der").read_bytes()
    files = {"device.crt.der": [len(cert), hashlib.sha256(cert).hexdigest()]}
    board.facts.update(active="a", slots={"a": {"made": 1, "files": files, "tried": True}})
    return cert


def test_before_the_switch_a_rotation_begins_anew_with_the_same_certificate(board: Board, directory: Path) -> None:
    cut("trial", directory)
    staged = (directory / "rotations" / "dev-1" / "issued" / "device-dev-1.crt.der").read_bytes()
    lines = run(directory)
    assert "the certificate of the rotation that was cut off is taken" in lines
    assert issued(directory)["device-dev-1.crt.der"] == staged
    cut("trial", directory)
    staged = (directory / "rotations" / "dev-1" / "issued" / "device-dev-1.crt.der").read_bytes()
    run(directory, days=5)  # another request: another certificate
    assert issued(directory)["device-dev-1.crt.der"] != staged


def test_what_was_half_staged_is_thrown_away(board: Board, directory: Path) -> None:
    staged = directory / "rotations" / "dev-1" / "issued"
    staged.mkdir(parents=True)
    (staged / "device-dev-1.key.der").write_bytes(b"half a key")
    run(directory)
    assert issued(directory)["device-dev-1.key.der"] != b"half a key"
    assert not staged.exists()


def test_after_the_switch_it_is_finished_and_an_other_request_follows(board: Board, directory: Path) -> None:
    cut("restart", directory)
    cert = switched(board, directory)
    board.calls.clear()
    lines = run(directory)
    assert [line for line in lines if line[1:3] == "/2"] == ["1/2 restart", "2/2 keep"]
    assert issued(directory)["device-dev-1.crt.der"] == cert
    assert len(board.calls) == 2
    cut("keep", directory)
    cert = switched(board, directory)
    lines = run(directory, days=5)
    assert "8/8 keep" in lines
    assert issued(directory)["device-dev-1.crt.der.bak"] == cert


def test_keep_may_be_repeated(board: Board, directory: Path) -> None:
    run(directory)
    former = issued(directory)
    cut("keep", directory)
    switched(board, directory)
    staged = directory / "rotations" / "dev-1" / "issued"
    one = staged / "device-dev-1.crt.der"  # as if it had been cut off after the first file
    (directory / "issued" / one.name).rename(directory / "issued" / f"{one.name}.bak")
    (directory / "issued" / one.name).write_bytes(one.read_bytes())
    run(directory)
    now = issued(directory)
    for name, data in former.items():
        assert now[f"{name}.bak"] == data != now[name]


def test_one_rotation_of_a_device_at_a_time(board: Board, directory: Path) -> None:
    (directory / "rotations").mkdir()
    with (directory / "rotations" / "dev-1.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "being rotated already" in refused(directory).what
    run(directory)


def test_files_that_stay_are_carried_and_a_module_replaces_its_other_form(board: Board, directory: Path) -> None:
    names = ("device.crt.der", "device.key.der", "trust_roots.py", "pins.json")
    board.facts.update(active="a", slots={"a": {"made": 1, "files": {n: [1, "0" * 64] for n in names}, "tried": True}})
    module = directory / "any.mpy"
    module.write_bytes(b"M")
    run(directory, identity=False, trust=module)
    copying = next(call for call in board.calls if call.startswith("fs cp"))
    assert ":slot_b/trust_roots.mpy" in copying
    assert "rotation.carry('a', 'b', ['device.crt.der', 'device.key.der', 'pins.json'])" in copying
    assert not issued(directory)


@pytest.fixture
def terminal() -> Iterator[tuple[int, str]]:
    ours, theirs = pty.openpty()
    make_raw(theirs)
    yield ours, os.ttyname(theirs)
    os.close(ours)
    os.close(theirs)


def restarted(ours: int, says: bytes) -> threading.Thread:
    """A board at the other end of a terminal: gives its prompt when interrupted, and says this once restarted."""

    def play() -> None:
        heard = b""
        while not heard.endswith(b"\x02"):
            heard += os.read(ours, 100)
        os.write(ours, b"banner\r\n>>> ")
        while not heard.endswith(b"\x04"):
            heard += os.read(ours, 100)
        os.write(ours, says)

    player = threading.Thread(target=play, daemon=True)
    player.start()
    return player


@pytest.mark.parametrize(
    ("says", "result"),
    [
        (b"one\r\n[0.1] slots: using slot a\r\n[0.2] mqtt: connected to x\r\n", None),
        (b"[0.2] mqtt: connected to x\r\n[0.3] error: TCP_REFUSED: no\r\n", "[0.3] error: TCP_REFUSED: no"),
        (b"[0.3] error: CLOCK_NOT_SET: " + b"x" * 300 + b"\r\n", "[0.3] error: CLOCK_NOT_SET: xxx"),
        (b"\xff" * 5000 + b"\r\n", "no line like 'slots: using slot a'"),
    ],
)
def test_the_console_is_awaited(terminal: tuple[int, str], says: bytes, result: str | None) -> None:
    name = terminal[1]
    player = restarted(terminal[0], says)
    found = rotate.restart_and_wait(name, ("slots: using slot a", "mqtt: connected"), 5 if result is None else 0.5)
    player.join(5)
    assert found == result or (result and found and found.startswith(result))


def test_a_line_that_makes_the_waiting_vain_ends_it(terminal: tuple[int, str]) -> None:
    name = terminal[1]
    says = b"boot: app_a\r\nerror: TLS_MEMORY: x\r\nboot: app_b\r\nmqtt: first reading published\r\n"
    player = restarted(terminal[0], says)
    wanted = ("boot: app_a$", "first reading published")
    found = rotate.restart_and_wait(name, wanted, 10, against=r"^boot: (?!app_a$)")
    player.join(5)
    assert found == "error: TLS_MEMORY: x"
