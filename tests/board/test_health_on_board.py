"""On-board safety on the virtual board: crashes, the watchdog, safe mode, and what the broker gets to know of them."""

import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tools import ca, certs, deploy
from host_tools.broker import Broker
from host_tools.servers import SntpServer
from host_tools.sim.board import VirtualBoard
from host_tools.watch import Watcher

SCRIPT: dict[str, Any] = {"wifi": {"networks": {"lab": {"password": "lab-password", "join_ms": 20}}, "scan_ms": 20}}
NO_WIFI: dict[str, Any] = {"wifi": {"networks": {}, "scan_ms": 20}}
# What a user's driver could do; put in place of the module that the sensor imports.
BROKEN_DRIVER = (
    "class DHT22:\n    def __init__(self, pin):\n        raise AttributeError('lab-password is not known')\n"
)
HANGING_DRIVER = (
    "class DHT22:\n    def __init__(self, pin):\n        print('it hangs')\n        while True:\n            pass\n"
)
SLOW_DRIVER = """import time
class DHT22:
    def __init__(self, pin):
        print('it is slow')
        since = time.ticks_ms()
        while time.ticks_diff(time.ticks_ms(), since) < 4000:
            pass
        print('it is done')
        raise OSError(110)
"""
GOOD_DRIVER = (
    "class DHT22:\n    def __init__(self, pin):\n        pass\n    def measure(self):\n        pass\n"
    "    def temperature(self):\n        return 21\n    def humidity(self):\n        return 40\n"
)


LEVELS = """import time, machine
seen = set()
for i in range(150):
    seen.add(int(machine.Pin('LED').value()))
    time.sleep_ms(20)
print(sorted(seen))
"""


def mpremote(board: VirtualBoard, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "mpremote", "connect", board.port, *arguments],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


class Lab:
    """A broker with mutual TLS, an observer of it, and the flash of a board that reads a sensor."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        self.folder = folder
        self.authority = ca.init(folder / "ca", subject="/CN=Health CA")
        server = self.authority.issue_server(["localhost"])
        self.device = self.authority.issue_device("dev-1")
        observer = self.authority.issue_device("observer")
        self.broker = stack.enter_context(
            Broker(server.cert_pem, server.key_pem, self.authority.cert_pem, workdir=folder)
        )
        self.sntp = stack.enter_context(SntpServer())
        self.watcher = stack.enter_context(
            Watcher("localhost", self.broker.port, self.authority.cert_pem, observer.cert_pem, observer.key_pem)
        )
        self.roots = certs.embed([self.authority.cert_pem], folder / "trust_roots.py")
        self.flash = folder / "flash"

    def stage(self, board: str = "pico_w", **changes: Any) -> Path:
        settings: dict[str, Any] = {
            "device": "dev-1",
            "wifi": {"networks": [{"ssid": "lab", "password": "lab-password"}], "timeout_s": 2},
            "clock": {"servers": [f"127.0.0.1:{self.sntp.port}"], "timeout_s": 1},
            "mqtt": {
                "host": "localhost",
                "port": self.broker.port,
                "cert": "device.crt.der",
                "key": "device.key.der",
            },
            "sensors": [{"kind": "dht22", "name": "room", "pin": 15, "every_s": 0.2}],
        }
        config = self.folder / "config.json"
        config.write_text(json.dumps({**settings, **changes}))
        return deploy.stage(
            self.flash,
            board=board,
            config=config,
            trust=self.roots.compiled,
            cert=self.device.cert_der,
            key=self.device.key_der,
        )

    def driver(self, text: str) -> None:
        """A driver on the flash, in place of the stand-in: sensors.py takes what `import dht` gives."""
        boot = self.flash / "boot.py"
        boot.write_text(boot.read_text() + "import sys\nsys.modules.pop('dht', None)\n")
        (self.flash / "dht.py").write_text(text)

    def status(self, timeout_s: float = 20) -> dict[str, Any]:
        """The next message on the status topic."""
        end = time.monotonic() + timeout_s
        while True:
            topic, payload = self.watcher.next(max(0.01, end - time.monotonic()))
            if topic.endswith("/status"):
                found: dict[str, Any] = json.loads(payload)
                return found

    def online(self) -> dict[str, Any]:
        """The next birth message."""
        while (message := self.status())["status"] != "online":
            pass
        return message

    def kept(self) -> dict[str, Any]:
        found: dict[str, Any] = json.loads((self.flash / "health.json").read_text())
        return found


@pytest.fixture
def lab(tmp_path: Path) -> Iterator[Lab]:
    with contextlib.ExitStack() as stack:
        yield Lab(tmp_path, stack)


def test_an_ordinary_start_and_the_last_will(lab: Lab) -> None:
    lab.stage(sensors=[{"kind": "simulated", "name": "sim", "every_s": 0.2}])
    with VirtualBoard(lab.flash, script=SCRIPT) as board:
        birth = lab.online()
        assert birth["device"] == "dev-1" and birth["reset"] == "power" and birth["boots"] == 1
        assert birth["last_error"] is None and birth["trouble"] is None and birth["crashes"] == 0
        assert 0 < birth["heap_free"] < 250_000
        board.wait_for("connected")
        end = time.monotonic() + 15
        while lab.kept()["end"] != "ok" and time.monotonic() < end:
            time.sleep(0.02)
        assert lab.kept()["end"] == "ok"
    assert lab.status() == {"status": "offline"}


@pytest.mark.parametrize("name", ["pico_w", "esp32_generic"])
def test_a_crash_in_a_driver_leads_to_resets_and_the_broker_is_told(lab: Lab, name: str) -> None:
    lab.stage(name)
    lab.driver(BROKEN_DRIVER)
    with VirtualBoard(lab.flash, board=name, script=SCRIPT) as board:
        board.wait_for("health: the gateway ended by CRASH: .*AttributeError", 20)
        at = board.position
        lab.driver(GOOD_DRIVER)
        board.wait_for("mqtt: connected", 20, since=at)
        assert "lab-password" not in board.output
        while not (birth := lab.online())["last_error"]:
            pass
    assert birth["reset"] == "crash" and birth["boots"] > 1
    error = birth["last_error"]
    assert error["code"] == "CRASH" and error["boot"] == birth["boots"] - 1
    assert "AttributeError: *** is not known" in error["fact"] and "dht.py" in error["fact"]


def test_a_driver_that_crashes_each_time_ends_in_safe_mode(lab: Lab) -> None:
    """Each start connects, and crashes when the clock is good: that is no connection that lasts."""
    lab.stage()
    lab.driver(BROKEN_DRIVER)
    with VirtualBoard(lab.flash, script=SCRIPT) as board:
        board.wait_for("SAFE MODE", 60)
        assert board.output.count("the gateway ended by CRASH") == 5
        assert mpremote(board, "resume", "eval", "6*7") == "42\n"


def test_crash_after_crash_ends_in_safe_mode(lab: Lab) -> None:
    lab.stage()
    # Before any connection: the gateway's own code is broken.
    (lab.flash / "rootlet" / "wifi.mpy").unlink()
    (lab.flash / "rootlet" / "wifi.py").write_text("def begin(settings, board):\n    return None.no_such_thing\n")
    with VirtualBoard(lab.flash, script=SCRIPT) as board:
        board.wait_for("SAFE MODE.*", 60)
        board.wait_for("^>>> ", 10)
        assert board.output.count("the gateway ended by CRASH") == 5
        assert "Last error: CRASH: rootlet/wifi.py:2: AttributeError" in board.output
        assert mpremote(board, "resume", "eval", "6*7") == "42\n"
        assert "health.json" in mpremote(board, "resume", "fs", "ls")
        assert mpremote(board, "resume", "exec", LEVELS) == "[0, 1]\n"  # the LED flickers, the REPL is free
        # Another start gets one more try; after a crash, it is safe mode again.
        at = board.position
        board.reset()
        board.wait_for("the gateway ended by CRASH", 20, since=at)
        board.wait_for("SAFE MODE", 20, since=at)
        # Mended and cleared, it is as ever.
        (lab.flash / "rootlet" / "wifi.py").write_text((deploy.FIRMWARE / "rootlet" / "wifi.py").read_text())
        mpremote(board, "resume", "exec", "from rootlet import health; health.clear()")
        assert not (lab.flash / "health.json").exists()
        # A deploy forgets crashes, too.
        (lab.flash / "health.json").write_text("{}")
        (lab.folder / "tree").mkdir()
        deploy.copy_to_board(board.port, lab.folder / "tree")
        assert not (lab.flash / "health.json").exists()
        at = board.position
        board.reset()
        board.wait_for("mqtt: connected", 20, since=at)
        assert lab.online()["boots"] == 1


def test_safe_mode_tries_again_by_itself(lab: Lab) -> None:
    lab.stage()
    (lab.flash / "health.json").write_text(json.dumps({"boots": 5, "fails": 5, "end": "crash", "code": "CRASH"}))
    lab.driver(GOOD_DRIVER)
    with (lab.flash / "boot.py").open("a") as f:
        f.write("from rootlet import crash\ncrash.RETRY_S = 1\n")
    with VirtualBoard(lab.flash, script=SCRIPT) as board:
        board.wait_for("SAFE MODE", 10)
        board.wait_for("mqtt: connected", 20)


# Puts times of seconds in place of the watchdog's: the limit in all, and rp2's hardware.
QUICK = """import machine
from rootlet import watchdog
begin = watchdog.start
def quick(seconds, board):
    row = board['watchdog']
    row['longest_ms'] = row['longest_ms'] and 1500
    begin(%d, board)
watchdog.start = quick
"""


def test_a_step_longer_than_the_hardware_allows_is_borne(lab: Lab) -> None:
    """rp2's watchdog ends at 8.4 s, and a DNS query may block for longer."""
    lab.stage(watchdog_s=30)
    lab.driver(SLOW_DRIVER)
    with (lab.flash / "boot.py").open("a") as f:
        f.write(QUICK % 10)
    with VirtualBoard(lab.flash, script=SCRIPT) as board:
        board.wait_for("it is done", 20)
        board.wait_for("SENSOR", 10)
        assert board.output.count("rootlet starts") == 1


@pytest.mark.parametrize("name", ["pico_w", "esp32_generic"])
def test_the_watchdog_bites_where_the_loop_hangs(lab: Lab, name: str) -> None:
    lab.stage(name, watchdog_s=30)
    lab.driver(HANGING_DRIVER)
    with (lab.flash / "boot.py").open("a") as f:
        f.write(QUICK % 2)
    with VirtualBoard(lab.flash, board=name, script=SCRIPT) as board:
        board.wait_for("it hangs", 20)
        at = board.position
        (lab.flash / "dht.py").write_text(GOOD_DRIVER)
        board.wait_for("mqtt: connected", 30, since=at)
        while not (birth := lab.online())["last_error"]:
            pass
        assert birth["reset"] == "watchdog"
        assert birth["last_error"]["code"] == "WATCHDOG"
        # Ctrl-C stops it: a person at the REPL has all the time.
        at = board.position
        mpremote(board, "exec", "import time; time.sleep(5); print('undisturbed')")
        assert "rootlet starts" not in board.output[len(board.output) - (board.position - at) :]


def test_wifi_that_is_away_is_no_crash(lab: Lab) -> None:
    # One that works without a driver: the status tells of the last trouble, and the first reading comes before it.
    lab.stage(watchdog_s=30, sensors=[{"kind": "simulated", "name": "room", "every_s": 0.2}])
    with VirtualBoard(lab.flash, script=NO_WIFI) as board:
        at = 0
        for _ in range(7):
            board.wait_for("WIFI_NO_AP", 20, since=at)
            at = board.position
            board.reset()
        # Cut off from outside while it tried: neither power nor the button is a crash.
        board.wait_for("WIFI_NO_AP", 20, since=at)
        kept = lab.kept()
        assert kept["fails"] == 0 and kept["crashes"] == 0 and kept["boots"] >= 7
        board.update_script(SCRIPT)
        board.wait_for("mqtt: connected", 60)
        birth = lab.online()
    assert birth["trouble"]["code"] == "WIFI_NO_AP" and birth["last_error"] is None
