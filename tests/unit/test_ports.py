"""Which board a command talks to."""

from types import SimpleNamespace
from typing import Any

import pytest

from host_tools.failure import Exit, Failure
from host_tools.ports import Target, choose

TWO: list[tuple[str, str | None]] = [("/dev/ttyACM0", "E660"), ("/dev/ttyACM1", "E661")]


def project(serial: str | None) -> Any:
    return SimpleNamespace(device=lambda name: SimpleNamespace(id=name, serial=serial))


def plug(monkeypatch: pytest.MonkeyPatch, there: list[tuple[str, str | None]]) -> None:
    rows = [SimpleNamespace(device=port, vid=1, pid=1, serial_number=number) for port, number in there]
    monkeypatch.setattr("serial.tools.list_ports.comports", lambda: rows)


def test_the_port_that_is_given(monkeypatch: pytest.MonkeyPatch) -> None:
    plug(monkeypatch, TWO)
    assert choose(None, "/dev/x", "rootlet logs") == Target("/dev/x")


def test_the_only_board(monkeypatch: pytest.MonkeyPatch) -> None:
    plug(monkeypatch, TWO[:1])
    assert (
        choose(None, None, "rootlet logs") == choose("pico-1", None, "rootlet logs", project(None)) == Target(*TWO[0])
    )


def test_by_the_serial_number_wherever_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    plug(monkeypatch, TWO)
    target = choose("pico-1", None, "rootlet logs", project("E661"))
    assert target == Target("/dev/ttyACM1", "E661")
    plug(monkeypatch, [("/dev/ttyACM7", "E661")])
    assert target.now() == "/dev/ttyACM7"
    plug(monkeypatch, [])
    assert target.now() == "/dev/ttyACM1"


@pytest.mark.parametrize(
    ("device", "there", "known", "code", "words"),
    [
        (None, [], None, Exit.NO_DEVICE, "no board found"),
        (None, TWO, None, Exit.USAGE, "rootlet logs --port /dev/ttyACM0  or  rootlet logs --port /dev/ttyACM1"),
        ("pico-1", TWO, project(None), Exit.USAGE, "several boards"),
        ("pico-1", TWO, project("E669"), Exit.NO_DEVICE, "/dev/ttyACM0 (E660), /dev/ttyACM1 (E661)"),
        ("pico-1", TWO, None, Exit.USAGE, "no rootlet.toml"),
    ],
)
def test_none_or_too_many(
    device: str | None, there: Any, known: Any, code: Exit, words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plug(monkeypatch, there)
    with pytest.raises(Failure) as e:
        choose(device, None, "rootlet logs", known)
    assert e.value.code == code and words in str(e.value)
