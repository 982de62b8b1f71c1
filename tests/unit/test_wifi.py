"""wifi: the signal, the radio off and on, and the restart of the board where nothing else helps."""

import asyncio
import importlib
import sys
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from rootlet import health, kept
from rootlet.errors import RootletError

BOARD = {"wlan": {"pm": {"performance": 10}, "status": {}}}
SETTINGS = {"country": "FR", "hostname": "pico", "power": "performance", "restart_after": 3, "reboot_after": 20}


class Wlan:
    """An interface that notes what is done to it."""

    def __init__(self, _kind: int = 0) -> None:
        self.calls: list[Any] = []
        self.signal: Any = -61
        self.broken = False

    def active(self, on: bool) -> None:
        self.calls.append(on)
        if self.broken:
            raise OSError(1)

    def config(self, **settings: Any) -> None:
        self.calls.append(settings)

    def status(self, what: str) -> Any:
        assert what == "rssi"
        if isinstance(self.signal, Exception):
            raise self.signal
        return self.signal


@pytest.fixture
def radio() -> Wlan:
    return Wlan()


@pytest.fixture
def wifi(monkeypatch: pytest.MonkeyPatch, radio: Wlan) -> Any:
    network = ModuleType("network")
    said: list[str] = radio.calls
    network.__dict__.update(STA_IF=0, WLAN=lambda _kind: radio, country=said.append, hostname=said.append)
    monkeypatch.setitem(sys.modules, "network", network)
    monkeypatch.delitem(sys.modules, "rootlet.wifi", raising=False)
    module = importlib.import_module("rootlet.wifi")
    yield module
    sys.modules.pop("rootlet.wifi", None)


def failure(code: str = "WIFI_FAILED") -> RootletError:
    return RootletError(code, "'lab': failed (status -1)")


@pytest.mark.parametrize(
    ("signal", "said"),
    [(-61, -61), (-128, -128), (0, None), (None, None), (5, None), (-200, None), ("-61", None), (OSError(1), None),
     (ValueError(), None), (TypeError(), None)],
)  # fmt: skip
def test_rssi(wifi: Any, radio: Wlan, signal: Any, said: int | None) -> None:
    radio.signal = signal
    assert wifi.rssi(radio) == said


def test_the_radio_is_restarted_every_few_failures(wifi: Any, radio: Wlan) -> None:
    for count in range(1, 8):
        radio.calls.clear()
        assert wifi.failed(radio, SETTINGS, BOARD, count, failure()) is False
        assert radio.calls == ([False, "FR", "pico", True, {"pm": 10}] if count in (3, 6) else []), count
    assert wifi.failed(radio, SETTINGS | {"restart_after": 0}, BOARD, 3, failure()) is False
    assert radio.calls == []


def test_a_radio_that_fails_even_there_is_no_crash(wifi: Any, radio: Wlan) -> None:
    radio.broken = True
    assert wifi.failed(radio, SETTINGS, BOARD, 3, failure()) is False


def test_the_board_restarts_as_the_last_resort(wifi: Any, radio: Wlan, monkeypatch: pytest.MonkeyPatch) -> None:
    def asked(count: int, code: str = "WIFI_FAILED", **changed: int) -> bool:
        return bool(wifi.failed(radio, SETTINGS | changed, BOARD, count, failure(code)))

    assert [asked(n) for n in (1, 19, 20, 21)] == [False, False, True, True]
    assert not asked(1000, reboot_after=0)
    assert asked(20, "WIFI_NO_AP")
    assert not asked(1000, "WIFI_WRONG_PASSWORD")
    monkeypatch.setattr(health, "_reset", "wifi")  # one that has not helped is not repeated as fast
    assert [asked(n) for n in (20, 159, 160)] == [False, False, True]


def test_the_reason_is_kept_and_it_is_no_crash(wifi: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    resets = []
    machine = SimpleNamespace(reset=lambda: resets.append(1), reset_cause=lambda: 3)
    monkeypatch.setitem(sys.modules, "machine", machine)
    monkeypatch.setattr(kept, "PATH", str(tmp_path / "health.json"))
    monkeypatch.setattr(health, "_board", lambda: {"reset": {"3": "watchdog"}})
    monkeypatch.setattr(health.leds, "start", lambda _hardware: None)
    monkeypatch.setattr(health, "_secrets", ["hunter22"])
    try:
        for start in range(8):  # more than lead to safe mode
            assert health.starting() is True
            assert health.last_reset() == ("wifi" if start else "watchdog")
            assert health._pause_ms == 0
            wifi.stuck(20, RootletError("WIFI_FAILED", "'hunter22': no_ap"))
        assert health.starting() is True
        said = health.report("dev-1")
        assert said["reset"] == "wifi" and said["crashes"] == 0 and said["boots"] == 9
        assert said["last_error"]["code"] == "WIFI_STUCK"
        assert said["last_error"]["fact"] == "20 tries in a row: '***': no_ap"
        assert len(resets) == 8
    finally:
        kept.data.update(kept._FRESH)
        health._reset = ""


@pytest.mark.parametrize("error", [OSError("Wifi Internal Error"), RuntimeError("Wifi Unknown Error 0x0102")])
def test_what_the_driver_raises_is_a_failure_to_join_and_no_crash(wifi: Any, radio: Wlan, error: Exception) -> None:
    def connect(*_: Any) -> None:
        raise error

    radio.disconnect = lambda: None  # type: ignore[attr-defined]
    radio.connect = connect  # type: ignore[attr-defined]
    settings = SETTINGS | {"networks": [{"ssid": "lab", "password": ""}], "timeout_s": 1}
    with pytest.raises(RootletError) as e:
        asyncio.run(wifi.join(radio, settings, BOARD))
    assert e.value.code == "WIFI_FAILED" and str(error) in e.value.fact


def test_a_board_that_knows_the_time_waits_longer_for_an_access_point_that_is_off(wifi: Any, radio: Wlan) -> None:
    away, broken = failure("WIFI_NO_AP"), failure()
    assert wifi.failed(radio, SETTINGS, BOARD, 20, away, False) is True
    assert wifi.failed(radio, SETTINGS, BOARD, 159, away, True) is False
    assert wifi.failed(radio, SETTINGS, BOARD, 160, away, True) is True
    assert wifi.failed(radio, SETTINGS, BOARD, 20, broken, True) is True


def test_joining_begins_before_the_rest_is_loaded_and_is_not_begun_again(wifi: Any, radio: Wlan) -> None:
    settings = SETTINGS | {"networks": [{"ssid": "lab", "password": "x" * 8}], "timeout_s": 1}
    joined: list[Any] = []
    radio.disconnect = lambda: radio.calls.append("disconnect")  # type: ignore[attr-defined]
    radio.connect = lambda *entry: joined.append(entry)  # type: ignore[attr-defined]
    radio.isconnected = lambda: bool(joined)  # type: ignore[attr-defined]
    radio.ifconfig = lambda: ("192.0.2.7",) if joined else ("0.0.0.0",)  # type: ignore[attr-defined]
    assert wifi.begin(settings, BOARD) is radio
    assert joined == [("lab", "x" * 8)]
    assert asyncio.run(wifi.join(radio, settings, BOARD, True)) == ("lab", "192.0.2.7")
    assert len(joined) == 1 and "disconnect" not in radio.calls
    wifi.begin(settings, BOARD)  # after a soft reset it may still be joined
    assert len(joined) == 1
    radio.broken = True
    assert wifi.begin(settings, BOARD) is None  # told later, where it is tried again
