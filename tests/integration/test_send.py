"""`rootlet send` and the brokers' lists: an operator commands, and nobody else does."""

import json
import ssl
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion
from typer.testing import CliRunner

from host_tools import ports, send
from host_tools.broker import Broker
from host_tools.commands.app import app
from host_tools.failure import Exit, Failure
from host_tools.watch import Place, Watcher
from rootlet import commands
from tests.integration.conftest import Pki


class Device:
    """A device that takes commands with the firmware's own module."""

    def __init__(self, pki: Pki, port: int, allowed: list[str], folder: Any) -> None:
        self.seen: list[tuple[str, bytes]] = []
        self.executed: list[Any] = []
        commands.PATH = str(folder / "command.json")
        self.commands = commands.Commands(b"rootlet/dev-1/cmd", allowed, {"status": self._run, "interval": self._run})
        me = pki.clients["dev-1"]
        context = ssl.create_default_context(cafile=str(pki.authority.cert_pem))
        context.load_cert_chain(me.cert_pem, me.key_pem)
        self.client = paho.Client(CallbackAPIVersion.VERSION2)
        self.client.tls_set_context(context)
        self.client.on_message = self._message
        self.client.on_connect = lambda client, *_: client.subscribe("rootlet/dev-1/cmd", 1)
        self.client.connect("localhost", port)
        self.client.loop_start()

    def _run(self, number: str, args: dict[str, Any]) -> dict[str, Any]:
        self.executed.append(args)
        return {"heap_free": 1234, "text": "\x1b[2Jred"}

    def _message(self, client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        self.seen.append((message.topic, message.payload))
        self.commands._next = 0
        self.commands.receive(message.topic.encode(), bytes(message.payload), message.retain)
        text = self.commands.step()
        client.publish("rootlet/dev-1/reply", b"\xff\x00 not an answer", qos=1)
        client.publish("rootlet/dev-1/reply", json.dumps({"id": "other", "ok": True}), qos=1)
        if text:
            client.publish("rootlet/dev-1/reply", text, qos=1)

    def close(self) -> None:
        self.client.disconnect()
        self.client.loop_stop()


@pytest.fixture
def device(pki: Pki, broker: Broker, tmp_path: Any) -> Iterator[Device]:
    made = Device(pki, broker.port, ["status", "interval"], tmp_path)
    made.client.publish("rootlet/dev-1/status", '{"status": "online"}', qos=1, retain=True).wait_for_publish(10)
    yield made
    made.close()


def place(pki: Pki, broker: Broker, who: str = "operator") -> Place:
    me = pki.clients[who]
    return Place("localhost", broker.port, pki.authority.cert_pem, me.cert_pem, me.key_pem, topic=send.TOPIC)


def options(pki: Pki, broker: Broker, who: str = "operator") -> list[str]:
    me = pki.clients[who]
    files = ["--ca", str(pki.authority.cert_pem), "--cert", str(me.cert_pem), "--key", str(me.key_pem)]
    return ["--broker", f"localhost:{broker.port}", *files]


def test_an_operator_is_answered(pki: Pki, broker: Broker, device: Device) -> None:
    answer = send.send(place(pki, broker), "dev-1", "interval", ["sensor=chip", "every_s=0.5"], 20)
    assert answer.ok and answer.data["heap_free"] == 1234
    assert device.executed == [{"sensor": "chip", "every_s": 0.5}]
    done = CliRunner().invoke(app, ["send", "dev-1", "status", *options(pki, broker)])
    assert done.exit_code == 0, done.output
    assert "dev-1: status done" in done.output and "heap_free: 1234" in done.output and "\x1b" not in done.output
    done = CliRunner().invoke(app, ["send", "dev-1", "status", "--json", *options(pki, broker)])
    assert json.loads(done.stdout)["ok"] is True


def test_what_is_not_allowed_is_told(pki: Pki, broker: Broker, device: Device) -> None:
    answer = send.send(place(pki, broker), "dev-1", "reboot", [], 20)
    assert (answer.ok, answer.code) == (False, "COMMAND") and "mqtt.commands" in answer.fact
    done = CliRunner().invoke(app, ["send", "dev-1", "reboot", *options(pki, broker)])
    assert isinstance(done.exception, Failure) and done.exception.try_ == "rootlet explain COMMAND"
    done = CliRunner().invoke(app, ["send", "dev-1", "reboot", "--json", *options(pki, broker)])
    assert done.exit_code == Exit.FAILED and json.loads(done.stdout)["ok"] is False


@pytest.mark.parametrize("who", ["observer", "dev-2"])
def test_nobody_else_can_command(who: str, pki: Pki, broker: Broker, device: Device) -> None:
    with Watcher(
        "localhost", broker.port, pki.authority.cert_pem, pki.clients[who].cert_pem, pki.clients[who].key_pem,
        topic=f"rootlet/{who}/cmd/#",
    ) as intruder:  # fmt: skip
        _, payload = send.message("status", [])
        for topic in ("rootlet/dev-1/cmd", "rootlet/dev-1/cmd/x", "rootlet/dev-1/reply", "rootlet/dev-1/status"):
            try:
                intruder.publish(topic, payload, 5)
            except TimeoutError:  # one broker says nothing at all to what it drops
                break
    # What an operator sends behind it arrives, and is the first that does.
    send.send(place(pki, broker), "dev-1", "status", [], 20)
    assert [topic for topic, _ in device.seen] == ["rootlet/dev-1/cmd"] and device.seen[0][1] != payload


def test_an_operator_writes_commands_and_nothing_else(pki: Pki, broker: Broker) -> None:
    me, observer = pki.clients["operator"], pki.clients["observer"]
    with (
        Watcher("localhost", broker.port, pki.authority.cert_pem, observer.cert_pem, observer.key_pem) as seen,
        Watcher("localhost", broker.port, pki.authority.cert_pem, me.cert_pem, me.key_pem) as operator,
    ):
        for topic in ("rootlet/dev-1/chip", "rootlet/dev-1/reply", "rootlet/dev-1/cmd/x", "cmd", "other/dev-1/cmd"):
            try:
                operator.publish(topic, b"forged", 1)
            except TimeoutError:
                pass
        operator.publish("rootlet/dev-1/cmd", b"marker", 10)
        for watcher in (seen, operator):
            heard = []
            while b"marker" not in [payload for _, payload in heard]:
                heard.append(watcher.next(10))
            assert b"forged" not in [payload for _, payload in heard]


def test_retained_messages_go_to_those_who_may_read_them(pki: Pki, broker: Broker, device: Device) -> None:
    observer, other = pki.clients["observer"], pki.clients["dev-2"]
    with (
        Watcher(
            "localhost", broker.port, pki.authority.cert_pem, observer.cert_pem, observer.key_pem,
            topic="rootlet/dev-1/status",
        ) as seen,
        Watcher(
            "localhost", broker.port, pki.authority.cert_pem, other.cert_pem, other.key_pem, topic="rootlet/dev-2/cmd"
        ) as spy,
    ):  # fmt: skip
        assert seen.next(10)[0] == "rootlet/dev-1/status"
        send.send(place(pki, broker), "dev-1", "status", [], 20)  # behind whatever the broker had to tell the other
        with pytest.raises(TimeoutError):
            spy.next(0.3)


def test_silence_is_told_with_what_is_known(pki: Pki, broker: Broker) -> None:
    with pytest.raises(Failure) as e:
        send.send(place(pki, broker), "dev-7", "status", [], 0.5)
    assert "no status" in e.value.because and e.value.code == Exit.FAILED


@pytest.mark.parametrize(
    ("arguments", "because"),
    [
        (["format"], "no such command"), (["interval", "sensor=chip"], "every_s"), (["status", "x"], "KEY=VALUE"),
        (["interval", "sensor=chip", "every_s=nan"], "every_s"), (["interval", "sensor=a", "every_s=x"], "every_s"),
        (["update", "url=http://x/y"], "url"), (["status", "more=1"], "keys"), (["status", "id=x"], "KEY=VALUE"),
    ],
)  # fmt: skip
def test_mistakes_are_told_before_anything_is_sent(arguments: list[str], because: str) -> None:
    done = CliRunner().invoke(app, ["send", "dev-1", *arguments, "--broker", "localhost:1"])
    assert isinstance(done.exception, Failure), done.output
    assert done.exception.code == Exit.USAGE and because in done.exception.because


@pytest.mark.parametrize(
    "payload", [b"", b"null", b"[]", b'{"id": 7}', b'{"id": "n", "ok": 1}', b"[" * 5000, b"\xff", b'{"id": "n"}']
)
def test_what_is_no_answer_is_let_go(payload: bytes) -> None:
    assert send.understand(payload, "n") is None


def test_an_answer_is_harmless_text() -> None:
    data = {"id": "n", "ok": False, "error": {"code": "\x1b[2J", "fact": ["x" * 2000]}} | {
        f"k\x07{i}": "\n" for i in range(99)
    }
    answer = send.understand(json.dumps(data).encode(), "n")
    assert answer and len(answer.fact) <= 160 and len(answer.lines()) == 32
    for text in (answer.code, answer.fact, *answer.lines()):
        assert text.isprintable()


def test_a_project_has_an_operator_of_its_own(pki: Pki, broker: Broker, device: Device, monkeypatch: Any) -> None:
    row = SimpleNamespace(host="localhost", config={"mqtt": {"port": broker.port, "cert": "x.der"}})
    found = SimpleNamespace(ca_dir=pki.folder / "ca", devices=[row], device=lambda _id: row)
    monkeypatch.setattr(ports, "find_project", lambda _folder: found)
    done = CliRunner().invoke(app, ["send", "dev-1", "status"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "dev-1: status done" in done.output
