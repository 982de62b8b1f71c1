"""`rootlet watch` against a real broker with mutual TLS: lines, JSON, the live table, and what a project tells it."""

import json
import ssl
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from typer.testing import CliRunner

from host_tools import ca, ports
from host_tools.broker import Broker
from host_tools.failure import Exit, Failure
from host_tools.watch import Watcher, of_project
from tests.integration.conftest import Pki
from tests.running import Command, in_a_terminal


class Publisher:
    """A device that says what the test wants."""

    def __init__(self, pki: Pki, port: int, name: str = "dev-1") -> None:
        self.name = name
        me = pki.clients[name]
        context = ssl.create_default_context(cafile=str(pki.authority.cert_pem))
        context.load_cert_chain(me.cert_pem, me.key_pem)
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.tls_set_context(context)
        self.client.connect("localhost", port)
        self.client.loop_start()

    def say(self, what: str, payload: Any, retain: bool = False) -> None:
        data = payload if isinstance(payload, str | bytes) else json.dumps(payload)
        self.client.publish(f"rootlet/{self.name}/{what}", data, qos=1, retain=retain).wait_for_publish(10)

    def reading(self, seq: int, value: float) -> None:
        row = {"device": self.name, "sensor": "chip", "quantity": "temperature", "value": value, "unit": "C"}
        self.say("chip", row | {"seq": seq})

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def running(pki: Pki, tmp_path: Path) -> Iterator[Broker]:
    with Broker(pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem, workdir=tmp_path) as broker:
        yield broker


@pytest.fixture
def device(pki: Pki, running: Broker) -> Iterator[Publisher]:
    publisher = Publisher(pki, running.port)
    publisher.say("status", "online", retain=True)
    yield publisher
    publisher.close()


def options(pki: Pki, port: int) -> list[str]:
    me = pki.clients["observer"]
    files = ["--ca", str(pki.authority.cert_pem), "--cert", str(me.cert_pem), "--key", str(me.key_pem)]
    return ["watch", f"localhost:{port}", *files]


def test_lines_for_machines(pki: Pki, running: Broker, device: Publisher) -> None:
    with Command(*options(pki, running.port), "--json", "--count", "5") as command:
        status = json.loads(command.wait_for("status"))
        assert (status["kind"], status["status"], status["payload"]) == ("status", "online", "online")
        for seq, value in ((0, 20.5), (3, 21)):
            device.reading(seq, value)
        rows = [json.loads(command.wait_for("chip")) for _ in range(2)]
        assert [(r["device"], r["sensor"], r["value"], r["unit"], r["seq"], r["lost"]) for r in rows] == [
            ("dev-1", "chip", 20.5, "C", 0, 0), ("dev-1", "chip", 21, "C", 3, 2),
        ]  # fmt: skip
        device.say("chip", b"\x1b[31m\x00\xff" + b"x" * 20000)
        row = json.loads(command.wait_for("other"))
        assert len(row["payload"]) == 4096
        device.say("status", {"status": "offline", "boots": 4})
        assert json.loads(command.wait_for("status"))["status"] == "offline"
        assert command.process.wait(20) == Exit.OK


def test_lines_for_a_person(pki: Pki, running: Broker, device: Publisher) -> None:
    with Command(*options(pki, running.port)) as command:
        command.wait_for("rootlet/dev-1/status  online")
        device.say("a\N{RIGHT-TO-LEFT OVERRIDE}b", b"\x1b[31mred\nnext\x1b]0;x\x07")
        assert command.wait_for("red").endswith("  red\N{REPLACEMENT CHARACTER}next")
        assert "a\N{REPLACEMENT CHARACTER}b" in command.said[-1]
        assert command.interrupt() == Exit.OK
        assert command.process.stderr and command.process.stderr.read() == ""


def test_once_waits_for_a_reading(pki: Pki, running: Broker, device: Publisher) -> None:
    with Command(*options(pki, running.port), "--once") as command:
        command.wait_for("status  online")
        device.reading(0, 1)
        assert command.process.wait(20) == Exit.OK
    with Command(*options(pki, running.port), "--once", "--timeout", "0.3") as command:
        assert command.process.wait(20) == Exit.FAILED
        assert command.process.stderr and "error: nothing arrived" in command.process.stderr.read()


def test_a_live_table(pki: Pki, running: Broker, device: Publisher) -> None:
    shown = in_a_terminal(
        options(pki, running.port),
        "dev-1", "online", lambda: [device.reading(seq, 20 + seq) for seq in (0, 1, 4)], "▁", "█",
        lambda: device.say("status", "offline"), "offline", b"\x03",
        COLUMNS="150", LANG="C.UTF-8",
    )  # fmt: skip
    assert "temperature" in shown and "24" in shown and "lost" in shown


def test_a_broker_that_comes_back(pki: Pki, tmp_path: Path) -> None:
    me = pki.clients["observer"]
    server = (pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem)
    with Broker(*server, workdir=tmp_path / "1") as broker:
        port = broker.port
        watcher = Watcher("localhost", port, pki.authority.cert_pem, me.cert_pem, me.key_pem)
        watcher.__enter__()
        assert watcher.connected
    with Broker(*server, workdir=tmp_path / "2", port=port):
        publisher = Publisher(pki, port)
        publisher.say("status", "online", retain=True)
        assert watcher.next(30) == ("rootlet/dev-1/status", b"online")
        assert watcher.connected
        publisher.close()
    watcher.__exit__(None, None, None)


def project(pki: Pki, port: int, **mqtt: Any) -> Any:
    config = {"mqtt": {"host": "localhost", "port": port, "cert": "device.crt.der", "key": "device.key.der", **mqtt}}
    devices = tuple(SimpleNamespace(id=name, host="localhost", config=config) for name in ("dev-1", "dev-2"))
    return SimpleNamespace(
        folder=pki.folder, ca_dir=pki.authority.directory, devices=devices, out=lambda _: pki.folder / "absent"
    )


def test_a_certificate_that_is_refused_is_said_so(pki: Pki, running: Broker) -> None:
    for cert, key in ((None, None), (pki.stranger.cert_pem, pki.stranger.key_pem)):
        with pytest.raises(Failure) as refused:
            Watcher("localhost", running.port, pki.authority.cert_pem, cert, key).__enter__()
        assert refused.value.because == "the broker closed the connection in the handshake"
        assert "usually it refuses the certificate: none, revoked, ended, of another CA" in refused.value.try_


def test_a_project_says_where(pki: Pki, running: Broker, device: Publisher, monkeypatch: pytest.MonkeyPatch) -> None:
    from host_tools.commands.app import app

    monkeypatch.setattr(ports, "find_project", lambda start=None: project(pki, running.port))
    result = CliRunner().invoke(app, ["watch", "--count", "1"])
    assert result.exit_code == 0, result.exception
    assert result.stdout == "rootlet/dev-1/status  online\n"


def test_the_observer_is_issued_once(tmp_path: Path) -> None:
    authority = ca.init(tmp_path / "ca", subject="/CN=Project CA")
    found = SimpleNamespace(
        ca_dir=authority.directory,
        devices=(SimpleNamespace(host="h", config={"mqtt": {"cert": "c", "topic": "lab/{sensor}/{device}"}}),),
    )
    said: list[str] = []
    place = of_project(found, lambda _: authority, said.append)
    assert (place.host, place.port, place.topic) == ("h", 8883, "lab/#") and len(said) == 1
    assert place.key and place.key.stat().st_mode & 0o777 == 0o600
    assert of_project(found, lambda _: pytest.fail("opened again"), said.append) == place and len(said) == 1
    authority.issue_device("observer", days=1, force=True)
    of_project(found, lambda _: authority, said.append)
    assert len(said) == 2


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ([], "no broker found"),
        ([{"host": "a", "cert": "c"}, {"host": "b", "cert": "c"}], "a, b"),
        ([{"host": "a", "psk": "device.psk"}], "cannot be watched"),
    ],
)
def test_projects_that_cannot_be_watched(settings: list[dict[str, Any]], words: str, pki: Pki) -> None:
    devices = tuple(SimpleNamespace(host=mqtt["host"], config={"mqtt": mqtt}) for mqtt in settings)
    found = SimpleNamespace(ca_dir=pki.authority.directory, devices=devices)
    with pytest.raises(Failure, match=".") as e:
        of_project(found, lambda _: pki.authority, lambda _: None)
    assert words in str(e.value) and e.value.code == Exit.USAGE


def test_a_project_without_a_ca_is_told_how_to_make_it(tmp_path: Path) -> None:
    mqtt = {"host": "a", "cert": "c"}
    found = SimpleNamespace(ca_dir=tmp_path, devices=(SimpleNamespace(host="a", config={"mqtt": mqtt}),))
    with pytest.raises(Failure, match="the project has no CA") as e:
        of_project(found, lambda _: pytest.fail("there is none"), lambda _: None)
    assert "rootlet provision" in str(e.value) and e.value.code == Exit.USAGE


def test_without_a_broker_and_without_a_project(tmp_path: Path) -> None:
    with Command("watch", cwd=tmp_path) as command:
        assert command.process.wait(20) == Exit.USAGE
        assert command.process.stderr and "error: no broker to watch" in command.process.stderr.read()
