"""The whole gateway on virtual boards: real MicroPython, real broker, real TLS; WiFi and sensors from a script."""

import contextlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tools import certs, deploy, pins
from host_tools.broker import Broker
from host_tools.paths import ROOT
from host_tools.servers import HttpsServer, SntpServer
from host_tools.sim.board import VirtualBoard
from host_tools.watch import Watcher
from tests.integration import hostile
from tests.integration.conftest import Pki

WIFI = {"networks": {"lab": {"password": "lab-password", "join_ms": 50}}, "scan_ms": 50}
SENSORS = {
    "temperature_c": 31,
    "adc": {"26": 32768, "34": 32768},
    "dht": {"15": {"temperature": 21.5, "humidity": 40}},
    "ds18x20": {"22": [19.5]},
}
SCRIPT: dict[str, Any] = {"wifi": WIFI, "sensors": SENSORS}


def settings(broker_port: int, sntp_port: int, https_port: int | None = None) -> dict[str, Any]:
    return {
        "device": "dev-1",
        "wifi": {"networks": [{"ssid": "lab", "password": "lab-password"}], "country": "FR", "timeout_s": 2},
        "clock": {"servers": [f"127.0.0.1:{sntp_port}"], "timeout_s": 1},
        "https": {"url": f"https://localhost:{https_port}/", "timeout_s": 5} if https_port else None,
        "mqtt": {"host": "localhost", "port": broker_port, "cert": "device.crt.der", "key": "device.key.der"},
        "sensors": [{"kind": "simulated", "name": "sim", "every_s": 0.1}],
    }


@contextlib.contextmanager
def running_broker(pki: Pki, folder: Path, port: int = 0) -> Iterator[Broker]:
    cert, key, ca = pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem
    with Broker(cert, key, ca, workdir=folder, port=port) as broker:
        yield broker


def observer(pki: Pki, port: int) -> Watcher:
    me = pki.clients["observer"]
    return Watcher("localhost", port, pki.authority.cert_pem, me.cert_pem, me.key_pem)


def staged(pki: Pki, folder: Path, config: dict[str, Any], board: str = "pico_w", checked: bool = True) -> Path:
    """The board's flash as `rootlet deploy` would fill it."""
    roots = certs.embed([pki.authority.cert_pem], folder / "trust_roots.py")
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    device = pki.clients["dev-1"]
    tree = deploy.stage(
        folder / "flash",
        board=board,
        config=path if checked else None,
        trust=roots.compiled,
        cert=device.cert_der,
        key=device.key_der,
    )
    if not checked:
        (tree / "config.json").write_text(path.read_text())
    return tree


def readings(watcher: Watcher, count: int, timeout_s: float = 30) -> list[dict[str, Any]]:
    """The next `count` readings; the retained status is not one."""
    found: list[dict[str, Any]] = []
    end = time.monotonic() + timeout_s
    while len(found) < count:
        topic, payload = watcher.next(max(0.01, end - time.monotonic()))
        if not topic.endswith("/status"):
            found.append(json.loads(payload))
    return found


@pytest.mark.parametrize(
    ("name", "pin_adc"),
    [("pico_w", 26), ("pico2_w", 26), ("esp32_generic", 34), ("esp32_s3", None), ("esp32_c3", None)],
)
def test_every_board_publishes_every_sensor(name: str, pin_adc: int | None, pki: Pki, tmp_path: Path) -> None:
    with running_broker(pki, tmp_path) as broker, SntpServer() as sntp:
        config = settings(broker.port, sntp.port)
        config["sensors"] = [
            {"kind": "internal_temperature", "name": "chip", "every_s": 0.2},
            {"kind": "dht22", "name": "room", "pin": 15, "every_s": 0.2},
            {"kind": "ds18b20", "name": "pipe", "pin": 22, "every_s": 0.9},
        ]
        if pin_adc:
            config["sensors"].append({"kind": "adc", "name": "cell", "pin": pin_adc, "every_s": 0.2, "scale": 2})
        flash = staged(pki, tmp_path, config, name)
        with observer(pki, broker.port) as watcher, VirtualBoard(flash, board=name, script=SCRIPT):
            wanted = {("chip", "temperature"), ("room", "temperature"), ("room", "humidity"), ("pipe", "temperature")}
            wanted |= {("cell", "voltage")} if pin_adc else set()
            seen: dict[tuple[str, str], dict[str, Any]] = {}
            while not wanted <= set(seen):
                (reading,) = readings(watcher, 1)
                seen[reading["sensor"], reading["quantity"]] = reading
    assert seen["room", "temperature"]["value"] == 21.5
    assert seen["room", "humidity"]["unit"] == "%RH"
    assert seen["pipe", "temperature"]["value"] == 19.5
    assert abs(seen["chip", "temperature"]["value"] - 31) < 1
    if pin_adc:
        assert abs(seen["cell", "voltage"]["value"] - 3.3) < 0.01
    now = time.strftime("%Y-%m-%dT%H", time.gmtime())
    assert seen["room", "humidity"]["time"].startswith(now[:10])
    assert all(reading["device"] == "dev-1" for reading in seen.values())


def test_the_console_tells_each_step(pki: Pki, tmp_path: Path) -> None:
    with (
        running_broker(pki, tmp_path) as broker,
        SntpServer() as sntp,
        HttpsServer(pki.server.cert_pem, pki.server.key_pem, {"/": b"x" * 5000}) as https,
    ):
        flash = staged(pki, tmp_path, settings(broker.port, sntp.port, https.port))
        with VirtualBoard(flash, script=SCRIPT) as board:
            board.wait_for(r"mqtt: verified: TLSv1.2, TLS-ECDHE-ECDSA-\S+, chain Integration CA > localhost", 30)
            output = board.output
            with observer(pki, broker.port) as watcher:  # the status is retained
                said = next(json.loads(text) for topic, text in iter(watcher.next, None) if topic.endswith("/status"))
            version, cipher = said["tls"]
            assert f"mqtt: verified: {version}, {cipher}, chain" in output and version == "TLSv1.2"
        assert "wifi: joined 'lab'" in output
        assert "clock: 20" in output
        assert f"https: GET https://localhost:{https.port}/: status 200, 5000 bytes" in output
        assert "connected to localhost" in output and "mutual TLS" in output
        assert "lab-password" not in output
        assert json.loads((flash / "clock.json").read_text())["last_good"] > 1790000000


def test_pins_of_the_page_and_of_the_broker(pki: Pki, tmp_path: Path) -> None:
    """Each has its own: the CA's key is the page's pin, the broker's is another at first."""
    (server,) = pins.of_file(pki.server.cert_pem)
    (authority,) = pins.of_file(pki.authority.cert_pem)
    (stranger,) = pins.of_file(pki.clients["observer"].cert_pem)
    cert, key = pki.server.cert_pem, pki.server.key_pem
    with (
        running_broker(pki, tmp_path) as broker,
        SntpServer() as sntp,
        HttpsServer(cert, key, {"/": b"x"}) as https,
    ):
        config = settings(broker.port, sntp.port, https.port)
        for page, of_broker, expected in (
            ([authority.pin], [stranger.pin], ("GET https", f"CERT_PIN: .*{re.escape(server.pin)}")),
            ([stranger.pin], [stranger.pin, server.pin], ("CERT_PIN: ", "connected to localhost")),
        ):
            config["https"]["pins"], config["mqtt"]["pins"] = page, of_broker
            folder = tmp_path / expected[1][:9]
            folder.mkdir()
            with VirtualBoard(staged(pki, folder, config), script=SCRIPT) as board:
                for text in expected:
                    board.wait_for(text, 30)


def test_a_page_that_fails_does_not_keep_readings_back(pki: Pki, tmp_path: Path) -> None:
    with (
        running_broker(pki, tmp_path) as broker,
        SntpServer() as sntp,
        hostile.serve(hostile.plain_text) as bad_port,
    ):
        flash = staged(pki, tmp_path, settings(broker.port, sntp.port, bad_port))
        with observer(pki, broker.port) as watcher, VirtualBoard(flash, script=SCRIPT) as board:
            assert len(readings(watcher, 3)) == 3
            assert "TLS_NOT_TLS" in board.output


@pytest.mark.parametrize("fault", ["no server", "silent server", "clock that cannot be set"])
def test_without_a_clock_no_tls_is_attempted_and_it_says_why(fault: str, pki: Pki, tmp_path: Path) -> None:
    touched: list[bytes] = []

    def notes(conn: Any, ending: Any) -> None:
        touched.append(conn.recv(1))

    script = {**SCRIPT, "clock": {"start": "2021-01-01T00:00:00Z", "settable": fault != "clock that cannot be set"}}
    mode = "silent" if fault == "silent server" else "good"
    with hostile.serve(notes) as port, SntpServer(mode=mode) as sntp:  # type: ignore[arg-type]
        config = settings(port, sntp.port, port)
        if fault == "no server":
            config["clock"]["servers"] = ["no-such-host.invalid"]
        flash = staged(pki, tmp_path, config)
        with VirtualBoard(flash, script=script) as board:
            line = board.wait_for(r"CLOCK_NOT_SET", 20)
            # The second attempt ends the same way.
            board.wait_for(r"CLOCK_NOT_SET", 30, since=board.position)
    assert "the clock is not set" in line
    why = {"no server": "no address", "silent server": "no answer", "clock that cannot be set": "cannot be set"}
    assert why[fault] in line
    assert not touched


@pytest.mark.parametrize("name", ["pico_w", "esp32_s3"])
@pytest.mark.parametrize(
    ("networks", "code"),
    [
        ({"lab": {"password": "another-one", "join_ms": 50}}, "WIFI_WRONG_PASSWORD"),
        ({"other": {"password": "lab-password"}}, "WIFI_NO_AP"),
        ({"lab": {"password": "lab-password", "dhcp": False, "join_ms": 50}}, "WIFI_NO_DHCP"),
    ],
)
def test_why_wifi_fails(name: str, networks: dict[str, Any], code: str, pki: Pki, tmp_path: Path) -> None:
    flash = staged(pki, tmp_path, settings(8883, 123), name)
    with VirtualBoard(flash, board=name, script={"wifi": {"networks": networks, "scan_ms": 50}}) as board:
        line = board.wait_for(r"error: \w+:", 20)
    assert code in line
    assert "'lab'" in line
    assert "lab-password" not in line


def test_the_second_network_is_tried(pki: Pki, tmp_path: Path) -> None:
    config = settings(8883, 123)
    config["wifi"]["networks"].insert(0, {"ssid": "gone", "password": "something"})
    flash = staged(pki, tmp_path, config)
    with VirtualBoard(flash, script=SCRIPT) as board:
        assert "joined 'lab'" in board.wait_for(r"wifi: joined", 20)


def test_a_wrong_configuration_is_told_on_the_board(pki: Pki, tmp_path: Path) -> None:
    config = settings(8883, 123)
    config["mqtt"]["port"] = 70000
    flash = staged(pki, tmp_path, config, checked=False)
    with VirtualBoard(flash, script=SCRIPT) as board:
        line = board.wait_for(r"CONFIG", 20)
    assert "mqtt.port is 70000: it must be 1 to 65535" in line
    assert "set mqtt.port to" in line


def test_no_reading_is_lost_when_the_broker_restarts(pki: Pki, tmp_path: Path) -> None:
    with contextlib.ExitStack() as stack:
        sntp = stack.enter_context(SntpServer())
        first = contextlib.ExitStack()
        broker = first.enter_context(running_broker(pki, tmp_path / "one"))
        flash = staged(pki, tmp_path, settings(broker.port, sntp.port))
        with first:
            watcher = first.enter_context(observer(pki, broker.port))
            board = stack.enter_context(VirtualBoard(flash, script=SCRIPT))
            before = {r["seq"] for r in readings(watcher, 10)}
        board.wait_for(r"error: (MQTT_CLOSED|TCP_REFUSED|NET_CLOSED)", 20)
        again = stack.enter_context(running_broker(pki, tmp_path / "two", broker.port))
        watcher = stack.enter_context(observer(pki, again.port))
        after: set[int] = set()
        while not after or max(after) < max(before) + 20:
            after |= {r["seq"] for r in readings(watcher, 1, 30)}
    missing = set(range(max(after))) - before - after
    # What the first broker had acknowledged but not yet passed on when it was stopped, it took with it.
    assert all(seq <= max(before) + 2 for seq in missing), missing


def test_wifi_lost_and_back(pki: Pki, tmp_path: Path) -> None:
    with running_broker(pki, tmp_path) as broker, SntpServer() as sntp:
        flash = staged(pki, tmp_path, settings(broker.port, sntp.port))
        with observer(pki, broker.port) as watcher, VirtualBoard(flash, script=SCRIPT) as board:
            readings(watcher, 3)
            mark = board.position
            board.update_script({**SCRIPT, "wifi": {"networks": {}, "scan_ms": 50}})
            board.wait_for(r"error: WIFI_\w+", 20, since=mark)
            board.update_script(SCRIPT)
            board.wait_for(r"mqtt: connected", 40, since=mark)
            assert readings(watcher, 3)


def test_deploy_by_mpremote_skips_what_is_there(pki: Pki, tmp_path: Path) -> None:
    """The command itself, on a virtual board that has nothing on it: copy, then nothing left to copy, then start."""
    roots = certs.embed([pki.authority.cert_pem], tmp_path / "trust_roots.py")
    config = tmp_path / "config.json"
    config.write_text(json.dumps(settings(8883, 123)))
    device = pki.clients["dev-1"]
    flash = tmp_path / "empty"
    flash.mkdir()
    with VirtualBoard(flash, script=SCRIPT) as board:

        def run(*extra: str) -> str:
            command = [sys.executable, "-m", "host_tools", "deploy", "--port", board.port, "--config", str(config)]
            command += ["--trust", str(roots.module), "--cert", str(device.cert_der), "--key", str(device.key_der)]
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "firmware")])}
            done = subprocess.run(
                [*command, *extra],
                capture_output=True,
                text=True,
                timeout=60,
                cwd=tmp_path,
                env=environment,
                check=False,
            )
            assert done.returncode == 0, done.stderr
            return done.stdout

        first = run("--no-wait")
        assert "has no program yet" in first
        assert {"boot.py", "main.py", "app", "app_a"} <= {p.name for p in flash.iterdir()}
        assert {"board.json", "trust_roots.mpy"} <= {p.name for p in (flash / "app_a").iterdir()}
        board.wait_for(r"wifi: joined", 20)
        assert (flash / "device.key.der").read_bytes() == device.key_der.read_bytes()
        assert "copy 0 files, 0 bytes" in run("--no-wait")
        at = board.position
        (flash / "main.py").write_text("changed")
        assert "copy 1 files" in run("--reset", "--no-wait")
        board.wait_for(r"wifi: joined", 20, since=at)


@pytest.mark.timeout(4000)
def test_soak_short_or_long(pki: Pki, tmp_path: Path) -> None:
    """ROOTLET_SOAK_SECONDS of readings without a gap, a repetition or an error."""
    seconds = float(os.environ.get("ROOTLET_SOAK_SECONDS", "5"))
    with running_broker(pki, tmp_path) as broker, SntpServer() as sntp:
        config = settings(broker.port, sntp.port)
        config["sensors"][0]["every_s"] = 0.05
        flash = staged(pki, tmp_path, config)
        with observer(pki, broker.port) as watcher, VirtualBoard(flash, script=SCRIPT) as board:
            end = time.monotonic() + seconds
            last = readings(watcher, 1)[0]["seq"]
            count = 0
            while time.monotonic() < end:
                seq = readings(watcher, 1)[0]["seq"]
                assert seq == last + 1
                last = seq
                count += 1
            assert count > seconds * 5
            assert "error" not in board.output
