"""What must be there before a block runs, by the names that the markers use."""

import atexit
import functools
import itertools
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from host_tools import ca as cas
from host_tools import project as projects
from host_tools import project_new, provision
from host_tools.broker import Broker
from host_tools.servers import SntpServer
from host_tools.sim.board import VirtualBoard
from host_tools.sim.surroundings import Surroundings
from rootlet import config
from tests.docs.fences import Block
from tests.docs.pages import Page

TIME_SERVERS = next(row[2] for row in config._CLOCK if row[0] == "servers")
_PASSWORD = "my-password"  # as the pages have it


def folder(page: Page) -> None:
    """An empty folder."""


def fresh(page: Page) -> None:
    """Another empty folder, beside what there was."""
    page.cwd = Path(tempfile.mkdtemp(dir=page.top))


def ended(page: Page) -> None:
    """What the page has started is ended."""
    page.end()


def ca(page: Page) -> None:
    """ca-data: a CA."""
    if not (page.cwd / "ca-data").exists():
        cas.init(page.cwd / "ca-data", subject="/O=Home/CN=Home CA")


def issued(page: Page) -> None:
    """ca-data, with server certificates for broker.home and localhost, and those of devices."""
    ca(page)
    authority = cas.load(page.cwd / "ca-data")
    there = {path.name for path in (page.cwd / "ca-data" / "issued").glob("*.key.pem")}
    if "server-localhost.key.pem" not in there:
        authority.issue_server(["localhost"], ips=["127.0.0.1"])
    if "server-broker.home.key.pem" not in there:
        authority.issue_server(["broker.home", "broker.example.org", "localhost"], ips=["192.168.1.10", "127.0.0.1"])
    for name in ("pico-1", "observer", "operator"):
        if f"device-{name}.key.pem" not in there:  # (that of a project's device lies with the device)
            authority.issue_device(name, force=True)


def project(page: Page) -> None:
    """A project's folder after `rootlet new`, filled in and provisioned, with the broker's certificate."""
    if projects.find(page.cwd):
        return
    project_new.new(page.cwd / "garden", page.kind)
    page.cwd = page.cwd / "garden"
    fill_in(page)
    made = projects.load(page.cwd)
    provision.run(made, made.devices, provision.Options(jobs=1), lambda _: None)
    cas.load(page.cwd / "ca-data").issue_server(
        ["broker.home", "broker.example.org", "localhost"], ips=["192.168.1.10", "127.0.0.1"]
    )


@functools.cache
def _sntp() -> SntpServer:
    """One for all pages, as the boards of all have its port in their configuration."""
    return SntpServer().__enter__()


def fill_in(page: Page) -> None:
    """What a page asks to fill in (and the ports of this machine)."""
    sntp = _sntp()
    path = page.cwd / projects.FILE
    text = path.read_text()
    for old, new in (
        ('country = "XX"', 'country = "FR"'),
        ('host = "broker.home"', f'host = "broker.home"\nport = {page.ports["8883"]}'),
        ("# [clock]", "[clock]"),
        ('# servers = ["192.168.1.1"]', f'servers = ["127.0.0.1:{sntp.port}"]'),
        ("every_s = 10", "every_s = 1"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    if page.commands:
        commands = '[mqtt]\ncommands = ["status", "interval", "rotate", "reboot"]'
        assert "# [mqtt]" in text
        text = text.replace("# [mqtt]", commands)
    path.write_text(text)
    secrets = page.cwd / "secrets.toml"
    secrets.write_text(secrets.read_text().replace("CHANGE-ME", _PASSWORD))


def broker(page: Page) -> None:
    """A broker that runs, with the certificate of broker.home and localhost."""
    if page.brokers:
        return
    page.brokers = True
    issued(page)
    files = page.cwd / "ca-data" / "issued"
    page.stack.enter_context(
        Broker(
            files / "server-broker.home.crt.pem",
            files / "server-broker.home.key.pem",
            page.cwd / "ca-data" / "ca.crt.pem",
            workdir=page.top / "broker",
            port=page.ports["8883"],
            home_assistant="homeassistant",
        )
    )


def device(page: Page) -> None:
    """What publishes as pico-1 to the broker at the page's port, every 0.2 s: no board, where none is meant."""
    from paho.mqtt import client as mqtt

    if page.publishes:
        return
    page.publishes = True
    if not page.lasting:
        broker(page)
    else:
        issued(page)
    files = page.cwd / "ca-data" / "issued"
    if not (files / "device-pico-1.key.pem").exists():  # provisioned: its key is with the device's files alone
        cas.load(page.cwd / "ca-data").issue_device("pico-1", force=True)
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, "pico-1")
    client.tls_set(
        str(page.cwd / "ca-data" / "ca.crt.pem"),
        str(files / "device-pico-1.crt.pem"),
        str(files / "device-pico-1.key.pem"),
    )
    client.connect("localhost", page.ports["8883"])
    client.loop_start()
    page.stack.callback(client.loop_stop)
    page.stack.callback(client.disconnect)
    over = threading.Event()

    def publish() -> None:
        for seq in itertools.count():
            reading = {"device": "pico-1", "sensor": "chip", "quantity": "temperature", "value": 24.5, "unit": "Cel"}
            when = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
            client.publish("rootlet/pico-1/chip", json.dumps({**reading, "time": when, "boot": 1, "seq": seq}), qos=1)
            if over.wait(0.2):
                return

    thread = threading.Thread(target=publish)
    thread.start()
    page.stack.callback(thread.join)
    page.stack.callback(over.set)


def air(page: Page) -> None:
    """Bluetooth sensors around the board that comes."""
    around = Surroundings()
    page.stack.callback(around.close)
    ruuvi = {"kind": "ruuvi", "address": "D4:1A:22:3B:4C:5D", "values": {"temperature": 24.3, "humidity": 53.49}}
    hall = {"kind": "thermometer", "address": "A4:C1:38:12:34:56", "name": "hall", "temperature": 19}
    page.script, _ = around.arrange({"ble": {"peripherals": [ruuvi, hall]}})


def bundle(page: Page) -> None:
    """my-cas.pem: two CAs, one of them "Old CA"."""
    made = [cas.init(page.top / name, subject=f"/CN={name}").cert_pem.read_text() for name in ("New CA", "Old CA")]
    (page.cwd / "my-cas.pem").write_text("".join(made))


def frozen(page: Page) -> None:
    """The board that comes has the firmware in its MicroPython."""
    page.frozen = True


def by_hand(page: Page) -> None:
    """The files of pico-1 where they are without a project."""
    if (page.cwd / "config.json").exists():
        return
    for name, where in (
        ("config.json", "config.json"),
        ("trust_roots.py", "build/trust_roots.py"),
        ("device.crt.der", "ca-data/issued/device-pico-1.crt.der"),
        ("device.key.der", "ca-data/issued/device-pico-1.key.der"),
    ):
        shutil.copy(page.cwd / "build" / "devices" / "pico-1" / name, page.cwd / where)


def history(page: Page) -> None:
    """A project with readings in the history of its dashboard."""
    project(page)
    device(page)
    page.run(Block(Path("history.md"), 0, "sh", "rootlet dashboard\n"))
    page.sh("sleep 3")
    page.end()


def program(name: str) -> Callable[[Page], None]:
    def there(page: Page) -> None:
        path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
        if not shutil.which(name, path=path):
            pytest.skip(f"{name} is not installed")

    return there


def board(page: Page) -> None:
    """A virtual board, with nothing on its flash, that seems to be plugged in."""
    if page.device:
        return
    flash = page.top / "flash"
    flash.mkdir(exist_ok=True)
    script = {
        "wifi": {"networks": {"my-wifi": {"password": _PASSWORD, "join_ms": 50}}, "scan_ms": 50},
        "dns": {**dict.fromkeys(page.here["names"], "127.0.0.1"), **dict.fromkeys(TIME_SERVERS, "fail")},
        **page.script,
    }
    board = VirtualBoard(flash, board=page.kind, script=script, frozen=page.frozen)
    page.device = page.stack.enter_context(board)
    page.here["boards"] = [page.device.port]
    page.write_here()
    page.replaced["SNTP"] = f"127.0.0.1:{_sntp().port}"
    page.replaced["/dev/ttyACM0"] = page.replaced["PORT"] = page.device.port


def readings(page: Page) -> None:
    """A project whose board has the firmware and publishes to a broker."""
    if page.deployed:
        return
    page.deployed = True
    kept = _kept(page.kind)
    shutil.copytree(kept / "garden", page.cwd / "garden")
    shutil.copytree(kept / "flash", page.top / "flash")
    page.cwd = page.cwd / "garden"
    broker(page)
    board(page)
    assert page.device
    page.device.wait_for("mqtt: connected", 60)


@functools.cache
def _kept(kind: str) -> Path:
    """A project and the flash of its board after `rootlet deploy`, which takes long: it is done once for all pages."""
    top = Path(tempfile.mkdtemp(prefix="rootlet-docs-"))
    atexit.register(shutil.rmtree, top, ignore_errors=True)
    with Page(top, kind) as page:
        page.commands = True
        project(page)
        broker(page)
        board(page)
        page.sh("rootlet deploy")
        shutil.copytree(page.cwd, top / "garden")
    return top


SCENES: dict[str, Callable[[Page], None]] = {
    scene.__name__.replace("_", " "): scene
    for scene in (
        folder, fresh, ended, ca, issued, project, broker, device, air, bundle, frozen, board, readings, by_hand,
        history,
    )
}  # fmt: skip
SCENES["micropython"] = folder
SCENES |= {name: program(name) for name in ("certutil", "tshark")} | {"nats": program("nats-server")}
