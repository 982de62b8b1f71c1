"""The gateway of BLE sensors as a whole: a virtual board, peripherals with bumble's real host stack, a real broker by
mutual TLS. The heap is told where it is another than the board's own.
"""

import calendar
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("bumble")

from host_tools import ca, certs, deploy
from host_tools.broker import Broker
from host_tools.servers import SntpServer
from host_tools.sim import adverts_made as made
from host_tools.sim.advertisers import Advertiser, Crowd
from host_tools.sim.air import Air
from host_tools.sim.board import VirtualBoard
from host_tools.sim.misbehaving import Dropper, Endless, Liar, Mute
from host_tools.sim.peripherals import AnalogInput, Thermometer
from host_tools.watch import Watcher

# With the firmware frozen into the interpreter (boards/manifest.py), whose code then lies in the flash.
HEAP_128K = 128 * 1024
# As much as 128 KiB hold on a 32-bit board: what MicroPython's own `-X heapsize=128wK` gives a 64-bit interpreter.
HEAP_128W = 2 * 128 * 1024
ROOM, TAG, SEALED, SECOND = (f"C4:7C:8D:6A:3E:0{n}" for n in range(1, 5))
KEY = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")
FLOOD_S = int(os.environ.get("ROOTLET_BLE_FLOOD_S", "10"))


def sensor(name: str, format_: str, address: str, **more: Any) -> dict[str, Any]:
    return {"name": name, "format": format_, "address": address, **more}


class Lab:
    """A broker, the air, an observer, and boards with a configuration."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder, self.stack = folder, stack
        self.authority = ca.init(folder / "ca", subject="/CN=Bluetooth CA")
        server = self.authority.issue_server(["localhost"])
        self.device = self.authority.issue_device("dev-1")
        me = self.authority.issue_device("observer")
        self.air = stack.enter_context(Air())
        self.sntp = stack.enter_context(SntpServer())
        self.broker = stack.enter_context(
            Broker(
                server.cert_pem, server.key_pem, self.authority.cert_pem, workdir=folder, home_assistant="homeassistant"
            )
        )
        self.watcher = stack.enter_context(
            Watcher(
                "localhost", self.broker.port, self.authority.cert_pem, me.cert_pem, me.key_pem,
                topic=["rootlet/#", "homeassistant/#"],
            )
        )  # fmt: skip
        self.seen: list[dict[str, Any]] = []
        self.others: dict[str, list[Any]] = {}

    def board(
        self, listed: list[dict[str, Any]], board: str, heap: int | None = None, frozen: bool = False, **more: Any
    ) -> VirtualBoard:
        config = {
            "device": "dev-1",
            "wifi": {"networks": [{"ssid": "lab", "password": "lab-password"}], "timeout_s": 2},
            "clock": {"servers": [f"127.0.0.1:{self.sntp.port}"], "timeout_s": 1},
            "mqtt": {
                "host": "localhost", "port": self.broker.port, "cert": "device.crt.der", "key": "device.key.der",
                "retry_first_s": 0.2, "status_s": 10,
            },
            "ble": {"every_s": 0, "sensors": listed},
            **more,
        }  # fmt: skip
        path = self.folder / "config.json"
        path.write_text(json.dumps(config))
        roots = certs.embed([self.authority.cert_pem], self.folder / "trust_roots.py")
        flash = deploy.stage(
            self.folder / "flash", board=board, config=path, trust=roots.compiled, cert=self.device.cert_der,
            key=self.device.key_der, frozen=frozen,
        )  # fmt: skip
        script = {
            "wifi": {"networks": {"lab": {"password": "lab-password", "join_ms": 20}}, "scan_ms": 20},
            "ble": {"port": self.air.port},
        }
        return self.stack.enter_context(VirtualBoard(flash, board=board, script=script, heap_bytes=heap, frozen=frozen))

    def wait(self, holds: Callable[[dict[str, Any]], bool], timeout_s: float = 30) -> dict[str, Any]:
        """The next reading for which it holds; all are kept in `seen`. The status and what else comes, in `others`."""
        end = time.monotonic() + timeout_s
        while True:
            topic, payload = self.watcher.next(max(0.01, end - time.monotonic()))
            said = json.loads(payload)
            if topic.startswith("rootlet/") and not topic.endswith("/status"):
                said["heard_at"] = time.time()
                self.seen.append(said)
                if holds(said):
                    return said
            else:
                self.others.setdefault(topic, []).append(said)

    def value(self, name: str, quantity: str, value: float, timeout_s: float = 30) -> dict[str, Any]:
        def holds(r: dict[str, Any]) -> bool:
            return (r["sensor"], r["quantity"], r["value"]) == (name, quantity, value)

        try:
            return self.wait(holds, timeout_s)
        except Exception as e:
            last = [(r["sensor"], r["quantity"], r["value"]) for r in self.seen[-20:]]
            raise AssertionError(f"no {name} {quantity} {value} came ({e!r}); the last: {last}") from e

    def of(self, name: str, quantity: str) -> list[Any]:
        return [r["value"] for r in self.seen if (r["sensor"], r["quantity"]) == (name, quantity)]


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with contextlib.ExitStack() as stack:
        yield Lab(tmp_path, stack)


def tag(n: int) -> bytes:
    return made.ruuvi(TAG, 10 + n / 2, 40 + n, 100000 + n, (0.1, -0.2, 1.0), 2.9, 4, n, n)


def sealed(n: int) -> bytes:
    return made.bthome({"temperature": 5 + n / 4, "battery": 80}, KEY, 1000 + n, SEALED)


@pytest.mark.parametrize(
    ("board", "heap", "frozen"),
    [("esp32_generic", HEAP_128K, True), ("esp32_generic", HEAP_128W, False), ("pico_w", None, False)],
)
def test_three_peripherals_at_once_one_drops_and_comes_back(
    lab: Lab, board: str, heap: int | None, frozen: bool
) -> None:
    room = Thermometer(ROOM, temperature=21.5, humidity=45, pressure=101325, battery=90)
    ruuvi, bthome = Advertiser(TAG, tag(0), interval_ms=100), Advertiser(SEALED, sealed(0), interval_ms=100)
    for one in (room, ruuvi, bthome):
        lab.air.add(one)
    sensors = [
        sensor("room", "gatt", ROOM, services=["environmental", "battery"]),
        sensor("tag", "ruuvi", TAG),
        sensor("cellar", "bthome", SEALED, bindkey=KEY.hex()),
    ]
    console = lab.board(sensors, board, heap, frozen, home_assistant="homeassistant")
    console.wait_for("room is connected", 30)
    first = {"temperature": (21.5, "Cel"), "humidity": (45, "%RH"), "pressure": (101325, "Pa"), "battery": (90, "%")}
    for quantity, (value, unit) in first.items():
        assert lab.value("room", quantity, value)["unit"] == unit
    at = 0
    for n in range(1, 13):
        ruuvi.set(tag(n))
        bthome.set(sealed(n))
        if n == 4:
            at = console.position
            room.drop()
        if n in (2, 11):
            if n == 11:  # it has come back by itself
                assert room.wait_connected(30)
                console.wait_for("room is connected", 30, since=at)
            room.set(temperature=15 + n)
            lab.value("room", "temperature", 15 + n)
        for name, quantity, value in (("tag", "sequence", n), ("cellar", "temperature", 5 + n / 4)):
            if value not in lab.of(name, quantity):
                lab.value(name, quantity, value)
    # Nothing is lost of what stayed, and nothing comes twice.
    assert lab.of("tag", "sequence") == [float(n) for n in range(13)]
    assert lab.of("cellar", "temperature") == [5 + n / 4 for n in range(13)]
    one = {r["quantity"]: (r["value"], r["unit"]) for r in lab.seen if r["sensor"] == "tag" and r["seq"] < 40}
    assert one["temperature"][1] == "Cel" and one["humidity"][1] == "%RH" and one["pressure"][1] == "Pa"
    assert one["acceleration_y"] == (-0.2, "[g]") and one["voltage"] == (2.9, "V") and one["tx_power"] == (4, "dBm")
    for r in lab.seen:
        assert r["address"] == {"room": ROOM, "tag": TAG, "cellar": SEALED}[r["sensor"]].lower() and r["rssi"] == -60
        made_at = calendar.timegm(time.strptime(r["time"], "%Y-%m-%dT%H:%M:%SZ"))
        assert -1.5 <= r["heard_at"] - made_at < 4, r
        assert r["boot"] == 1
    assert [r["seq"] for r in lab.seen] == list(range(len(lab.seen)))
    config = lab.others["homeassistant/sensor/dev-1/room_temperature/config"][0]
    assert config["state_topic" if "state_topic" in config else "stat_t"] == "rootlet/dev-1/room"
    assert "231d39c1" not in console.output


def test_two_sensors_share_the_one_connection_of_a_pico_w(lab: Lab) -> None:
    lab.air.add(Thermometer(ROOM, temperature=21.5))
    lab.air.add(AnalogInput(SECOND, millivolts=1200))
    console = lab.board(
        [
            sensor("room", "gatt", ROOM, services=["environmental"]),
            sensor("cell", "gatt", SECOND, services=["automation_io"]),
        ],
        "pico_w",
    )  # fmt: skip
    names = set()
    while names != {"room", "cell"}:
        names.add(lab.wait(lambda r: True, 60)["sensor"])
    assert lab.air.connections <= 1
    assert "Traceback" not in console.output and "BLE_" not in console.output


def test_a_bonded_sensor_is_read_and_the_bond_outlives_a_restart(lab: Lab) -> None:
    lab.air.add(Thermometer(ROOM, temperature=21.5, encrypted=True))
    console = lab.board([sensor("room", "gatt", ROOM, services=["environmental"], bond=True)], "esp32_s3")
    lab.value("room", "temperature", 21.5)
    kept = lab.folder / "flash" / "bonds.json"
    end = time.monotonic() + 10
    while not kept.exists():
        assert time.monotonic() < end
        time.sleep(0.05)
    before = kept.read_text()
    at = console.position
    console.reset()
    console.wait_for("room is connected", 30, since=at)
    lab.wait(lambda r: r["boot"] == 2 and r["quantity"] == "temperature")
    assert kept.read_text() == before  # it did not pair again
    assert json.loads(before)[0][2] not in console.output


def _crowd(address: str, n: int) -> bytes:
    return tag(n // 50 % 50) if address == TAG else b"\x02\x01\x06"


def free(said: dict[str, list[Any]]) -> list[int]:
    return [s["heap_free"] for s in said["rootlet/dev-1/status"] if "heap_free" in s]


@pytest.mark.timeout(FLOOD_S + 120)
def test_a_hundred_advertisements_a_second_do_not_disturb(lab: Lab) -> None:
    """Of strangers, with a listed sensor among them. What is lost is told; the board's own readings are all there."""
    console = lab.board(
        [sensor("tag", "ruuvi", TAG, every_s=1)], "esp32_generic", HEAP_128W,
        sensors=[{"kind": "simulated", "name": "own", "every_s": 0.1}],
    )  # fmt: skip
    lab.wait(lambda r: r["sensor"] == "own")
    time_before = len(lab.seen)
    crowd = Crowd(100, 49, [TAG], _crowd, FLOOD_S)
    begun = time.monotonic()
    lab.air.add(crowd)
    while not crowd.done.is_set():
        lab.wait(lambda r: r["sensor"] == "own")
    took = time.monotonic() - begun
    air_lost = lab.air.results_dropped
    said = {"heard": 0}
    for _ in range(2):  # the first status may have been made before the last of them was heard
        lab.others.clear()
        while len(free(lab.others) if lab.others else []) < 1:
            lab.wait(lambda r: r["sensor"] == "own")
        said = lab.others["rootlet/dev-1/status"][-1]["ble"]
        if said["heard"] + air_lost >= crowd.sent:
            break
    assert said["heard"] + air_lost == crowd.sent == 100 * FLOOD_S
    print(f"sent {crowd.sent} in {took:.1f} s, heard {said['heard']}, no room {said['dropped']}, air {air_lost}")
    assert said["dropped"] + air_lost <= crowd.sent // 100
    numbers = [r["seq"] for r in lab.seen]
    assert numbers == list(range(len(numbers)))
    own = [r for r in lab.seen[time_before:] if r["sensor"] == "own"]
    assert len(own) >= took / 0.1 * 0.9
    rates = len(lab.of("tag", "sequence"))
    assert FLOOD_S * 0.5 <= rates <= FLOOD_S + 2
    assert "MEMORY" not in console.output and {r["boot"] for r in lab.seen} == {1}


WRONG: dict[str, Callable[[str], Any]] = {
    **{f"lie {lie}": lambda a, lie=lie: Liar(a, lie=lie) for lie in Liar.lies},
    **{f"endless {what}": lambda a, what=what: Endless(a, what=what) for what in Endless.kinds},
    **{f"drop at {at}": lambda a, at=at: Dropper(a, at=at) for at in Dropper.steps},
    "mute": Mute,
}
# As many as an ESP32 has connections beside that of the thermometer.
GROUPS = [list(WRONG)[n : n + 3] for n in range(0, len(WRONG), 3)]


@pytest.mark.parametrize("kinds", GROUPS, ids=", ".join)
def test_peripherals_that_are_wrong_cannot_stop_the_others(lab: Lab, kinds: list[str]) -> None:
    wrong = [WRONG[kind](f"C4:7C:8D:6A:40:{n:02X}") for n, kind in enumerate(kinds)]
    ruuvi, room = Advertiser(TAG, tag(0), interval_ms=100), Thermometer(ROOM)
    lab.air.add(ruuvi)
    console = lab.board(
        [
            sensor("room", "gatt", ROOM, services=["environmental"]),
            sensor("tag", "ruuvi", TAG),
            *(sensor(f"wrong-{n}", "gatt", one.address) for n, one in enumerate(wrong)),
        ],
        "esp32_s3", sensors=[{"kind": "simulated", "name": "own", "every_s": 0.2}],
    )  # fmt: skip
    lab.air.add(room)
    console.wait_for("room is connected", 30)
    for one in wrong:
        lab.air.add(one)
    for one in wrong:
        assert one.wait_connected(30) or isinstance(one, Dropper), one
    for n in range(1, 5):
        ruuvi.set(tag(n))
        room.set(temperature=20 + n)
        for name, quantity, value in (("tag", "sequence", n), ("room", "temperature", 20 + n)):
            if value not in lab.of(name, quantity):
                lab.value(name, quantity, value)
        for _ in range(5):
            lab.wait(lambda r: r["sensor"] == "own")
    for one in wrong:
        assert not isinstance(one, Dropper) or one.dropped
    assert lab.of("tag", "sequence") == [float(n) for n in range(5)]
    numbers = [r["seq"] for r in lab.seen]
    assert numbers == list(range(len(numbers))) and {r["boot"] for r in lab.seen} == {1}
    assert "Traceback" not in console.output and "MEMORY" not in console.output
