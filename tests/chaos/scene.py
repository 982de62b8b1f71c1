"""What the chaos tests share: boards under load, a broker behind a Wire, and a record of all that arrived."""

import contextlib
import json
import re
import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from host_tools import ca, certs, deploy
from host_tools.broker import Broker
from host_tools.chaos import Faults, Wire
from host_tools.paths import FIRMWARE
from host_tools.servers import SntpServer
from host_tools.sim.board import VirtualBoard
from host_tools.watch import Watcher

WINDOW = 16
RESTARTS_WIFI = "restart_after" in (FIRMWARE / "rootlet" / "config.py").read_text()
KEEPALIVE_S = 5
SCRIPT: dict[str, Any] = {
    "wifi": {"networks": {"lab": {"password": "lab-password", "join_ms": 20}}, "scan_ms": 50},
    "faults": {"cut": {}},
}

# In place of the board's main.py: tells on the console what the outbox has taken, once put() has returned.
_MAIN = """
import json
import rootlet.outbox as outbox

_put = outbox.Outbox.put


def put(self, topic, payload):
    _put(self, topic, payload)
    if b'"seq"' in (payload.encode() if isinstance(payload, str) else payload):
        reading = json.loads(payload)
        print("accepted %d %d" % (reading["boot"], reading["seq"]))


outbox.Outbox.put = put
with open("gateway_main.py") as f:
    source = f.read()
exec(source)
"""

Key = tuple[int, int]  # (boot, seq), unique for a device


@dataclass
class Pki:
    """A CA with a server and clients, and a server of a CA that no board knows."""

    authority: ca.Authority
    server: ca.Issued
    next_server: ca.Issued
    stranger: ca.Issued
    observer: ca.Issued
    devices: dict[str, ca.Issued] = field(default_factory=dict)

    def device(self, name: str) -> ca.Issued:
        """The certificate of a board, made when it is first asked for."""
        if name not in self.devices:
            self.devices[name] = self.authority.issue_device(name)
        return self.devices[name]


def make_pki(folder: Path) -> Pki:
    """For a whole session: making keys takes time."""
    authority = ca.init(folder / "ca", subject="/CN=Chaos CA")
    other = ca.init(folder / "other", subject="/CN=Chaos CA of others")
    names = {"ips": ["127.0.0.1"]}
    server = authority.issue_server(["localhost", "broker.example"], **names)
    again = authority.issue_server(["broker.example", "localhost"], **names)
    stranger = other.issue_server(["localhost", "broker.example"], **names)
    return Pki(authority, server, again, stranger, authority.issue_device("observer"))


@dataclass(frozen=True)
class Arrived:
    """One reading as the observer got it. at: time.monotonic()."""

    at: float
    device: str
    sensor: str
    key: Key


class Record:
    """Everything that arrives at the broker, whichever run of the broker it is."""

    def __init__(self, scene: "Scene") -> None:
        self._scene = scene
        self._condition = threading.Condition()
        self._stack = contextlib.ExitStack()
        self._watcher: Watcher | None = None
        self.readings: list[Arrived] = []
        self.seen: dict[str, Counter[Key]] = {}
        self.corrupt: list[tuple[str, bytes]] = []
        self._fences: set[bytes] = set()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._ended = False

    def connect(self) -> None:
        """Subscribe at the broker, which must run."""
        self._stack.close()
        observer = self._scene.pki.observer
        self._watcher = self._stack.enter_context(
            Watcher(
                "localhost",
                self._scene.broker.port,
                self._scene.pki.authority.cert_pem,
                observer.cert_pem,
                observer.key_pem,
            )
        )
        if not self._thread.is_alive():
            self._thread.start()

    def close(self) -> None:
        """End."""
        self._ended = True
        if self._thread.is_alive():
            self._thread.join(5)
        self._stack.close()

    def fence(self) -> None:
        """Wait until all that the broker has acknowledged so far is here, by a message of our own behind it."""
        assert self._watcher
        text = b"fence %d" % len(self._fences)
        self._watcher._client.publish("rootlet/observer/fence", text, qos=1)
        self.wait(lambda: text in self._fences, 20)

    def _follow(self) -> None:
        while not self._ended:
            try:
                watcher = self._watcher
                assert watcher
                topic, payload = watcher.next(0.1)
            except TimeoutError:
                continue
            with self._condition:
                self._take(topic, payload)
                self._condition.notify_all()

    def _take(self, topic: str, payload: bytes) -> None:
        _, device, sensor = topic.split("/")
        if device == "observer":
            self._fences.add(payload)
        elif sensor not in ("status", "reply"):
            try:
                reading = json.loads(payload)
                assert (reading["device"], reading["sensor"]) == (device, sensor)
                assert reading["value"] in [20 + n / 2 for n in range(11)]
                key = int(reading["boot"]), int(reading["seq"])
            except (AssertionError, KeyError, TypeError, ValueError):
                self.corrupt.append((topic, payload))
                return
            self.readings.append(Arrived(time.monotonic(), device, sensor, key))
            self.seen.setdefault(device, Counter())[key] += 1

    def wait(self, condition: Callable[[], bool], timeout_s: float = 30) -> None:
        """Wait until something is so of what has arrived. Raises TimeoutError."""
        with self._condition:
            if not self._condition.wait_for(condition, timeout_s):
                raise TimeoutError

    def wait_more(self, device: str, count: int = 3, timeout_s: float = 30) -> None:
        """Wait for so many more readings of a device."""
        enough = sum(self.seen.get(device, Counter()).values()) + count
        self.wait(lambda: sum(self.seen.get(device, Counter()).values()) >= enough, timeout_s)

    def check_order(self, device: str) -> None:
        """Each topic's readings arrived in the order they were made in, apart from repetitions."""
        last: dict[str, Key] = {}
        seen: set[tuple[str, Key]] = set()
        for one in list(self.readings):
            if one.device == device and (one.sensor, one.key) not in seen:
                seen.add((one.sensor, one.key))
                assert one.key > last.get(one.sensor, (-1, -1)), (one, last)
                last[one.sensor] = one.key

    def repeated(self, device: str, start: float, end: float) -> int:
        """How many of the readings that arrived between two moments had arrived before."""
        seen: set[tuple[str, Key]] = set()
        count = 0
        for one in list(self.readings):
            if one.device == device:
                again = (one.sensor, one.key) in seen
                seen.add((one.sensor, one.key))
                count += again and start <= one.at < end
        return count


class Board:
    """A virtual board with the gateway, under load, and what its outbox has accepted."""

    def __init__(self, scene: "Scene", name: str, flash: Path) -> None:
        self.name = name
        self._scene = scene
        self.virtual = VirtualBoard(flash, script=SCRIPT)
        self._read = 0
        self.accepted: set[Key] = set()

    def listen(self) -> set[Key]:
        """Everything accepted so far; to be called before the console forgets (256 KiB)."""
        position = self.virtual.position
        text = self.virtual.output[self._read - position :] if position > self._read else ""
        whole = text.rfind("\n") + 1  # a line that the power has cut is no acceptance
        self._read = position - len(text) + whole
        lines = re.findall(r"^accepted (\d+) (\d+)$", text[:whole], re.MULTILINE)
        self.accepted |= {(int(boot), int(seq)) for boot, seq in lines}
        return self.accepted

    def wait_for(self, pattern: str, timeout_s: float = 30, since: int = 0) -> str:
        """See VirtualBoard.wait_for."""
        return self.virtual.wait_for(pattern, timeout_s, since)

    def update_script(self, **more: Any) -> None:
        """Change parts of the script."""
        self.virtual.update_script({**SCRIPT, **more})

    def check_all_arrived(self, timeout_s: float = 30) -> None:
        """Whatever was accepted until now arrives, whole and in order."""
        wanted = set(self.listen())
        assert wanted, self.virtual.output[-2000:]
        record = self._scene.record

        def missing() -> set[Key]:
            return wanted - set(record.seen.get(self.name, ()))

        try:
            record.wait(lambda: not missing(), timeout_s)
        except TimeoutError:
            lost = sorted(missing())
            said = [line for line in self.virtual.output.splitlines() if "accepted" not in line][-10:]
            raise AssertionError(
                f"{len(lost)} of {len(wanted)} lost, as {lost[:10]}; the console said: {said}"
            ) from None
        assert not record.corrupt
        record.check_order(self.name)


class Scene:
    """A broker behind a Wire, a time server, an observer; boards are added. A context manager."""

    def __init__(self, pki: Pki, folder: Path) -> None:
        self.pki, self.folder = pki, folder
        self._stack = contextlib.ExitStack()
        self.boards: list[Board] = []

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as stack:
            server = self.pki.server
            self.sntp = stack.enter_context(SntpServer())
            self.broker = stack.enter_context(
                Broker(server.cert_pem, server.key_pem, self.pki.authority.cert_pem, workdir=self.folder)
            )
            self.wire = stack.enter_context(Wire(self.broker.port))
            self.record = Record(self)
            stack.callback(self.record.close)
            self.record.connect()
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def config(self, name: str, every_s: float = 0.05, **mqtt: Any) -> dict[str, Any]:
        """The configuration of a board: how often it measures, and more for its "mqtt" section."""
        wifi = {"networks": [{"ssid": "lab", "password": "lab-password"}], "country": "FR", "timeout_s": 1}
        if RESTARTS_WIFI:
            wifi |= {"restart_after": 2, "reboot_after": 5}
        return {
            "device": name,
            "wifi": wifi,
            "clock": {"servers": [f"127.0.0.1:{self.sntp.port}"], "timeout_s": 1},
            "mqtt": {
                "host": "localhost",
                "port": self.wire.port,
                "cert": "device.crt.der",
                "key": "device.key.der",
                "keepalive_s": KEEPALIVE_S,
                "retry_first_s": 1,
                "retry_longest_s": 2,
                **mqtt,
            },
            "outbox": {"mode": "flash", "max_bytes": 65536, "hold_s": 0, "full": "drop_oldest"},
            "sensors": [{"kind": "simulated", "name": "sim", "every_s": every_s}],
        }

    def board(self, name: str, *, start: bool = True, **more: Any) -> Board:
        """A board with the gateway, switched on unless told otherwise; it is off when the scene ends."""
        folder = self.folder / name
        folder.mkdir()
        roots = certs.embed([self.pki.authority.cert_pem], folder / "trust_roots.py")
        config = folder / "config.json"
        config.write_text(json.dumps(self.config(name, **more)))
        me = self.pki.device(name)
        flash = deploy.stage(folder / "flash", config=config, trust=roots.compiled, cert=me.cert_der, key=me.key_der)
        shutil.move(flash / "main.py", flash / "gateway_main.py")
        (flash / "main.py").write_text(_MAIN)
        board = Board(self, name, flash)
        self.boards.append(board)
        if start:
            self._stack.enter_context(board.virtual)
        return board

    def kill_broker(self) -> None:
        """kill -9 of the broker under way, so that whatever is lost then is lost by the boards.

        What a broker without a store has acknowledged and not yet passed on is lost with it, which is no board's
        fault: so the acknowledgements are kept from the boards first, while messages still flow to the broker, until
        the observer has all that the boards may believe delivered. Afterwards the Wire refuses connections.
        """
        self.wire.set(down=Faults(blackhole=True))
        self.record.fence()
        self.wire.refuse()
        self.broker.kill()
        self.wire.cut()

    def restart_broker(self) -> float:
        """The broker, then the observer, then the way for the boards. Returns the moment it is open."""
        self.broker.restart()
        self.record.connect()
        opened = time.monotonic()
        self.wire.heal()
        return opened
