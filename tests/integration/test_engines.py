"""Every engine that is installed keeps every promise, asked from outside; and the probe sees promises broken."""

import contextlib
import json
import os
import queue
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import paho.mqtt.client as paho
import pytest
from paho.mqtt.enums import CallbackAPIVersion

from host_tools import broker_probe, ca
from host_tools.broker import Broker
from host_tools.broker_probe import DEVICE, OBSERVER, REVOKED, Papers, Probe
from host_tools.engines import nats_prepare, table
from host_tools.failure import Failure
from host_tools.paths import FIRMWARE, ROOT
from host_tools.watch import Watcher
from tests.integration.conftest import Pki
from tests.integration.mqtt_client import Client, Refused

PROMISES = [
    "the server has the name and a chain to the CA",
    "a device writes below its own topic and an observer sees it",
    "a device cannot write below another's topic",
    "a device cannot read what others write",
    "an unlisted certificate is refused",
    "no certificate is refused",
    "a certificate of another CA is refused",
    "an expired certificate is refused",
    "a revoked certificate is refused",
    "TLS 1.1 is refused",
]


@pytest.fixture(params=table.NAMES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if not table.engine(name).find():
        pytest.skip(f"{name} is not installed: {table.engine(name).INSTALL}")
    return name


@pytest.fixture
def issued(pki: Pki) -> Iterator[Papers]:
    with broker_probe.papers(pki.authority) as papers:
        yield papers


def running(pki: Pki, engine: str, folder: Path, **options) -> Broker:  # type: ignore[no-untyped-def]
    return Broker(
        pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem, workdir=folder, engine=engine, **options
    )


def test_every_promise_is_kept(pki: Pki, engine: str, issued: Papers, tmp_path: Path) -> None:
    revoked = issued.issue(REVOKED)
    crl = issued.revoke(REVOKED)
    with running(
        pki, engine, tmp_path, devices=[DEVICE, REVOKED, "dev-1"], observers=[OBSERVER], operators=[], revoked=crl
    ) as broker:
        lines = list(Probe("localhost", broker.port, pki.authority.cert_pem, issued, revoked=revoked).run())
    print("\n".join(map(str, lines)))
    assert [line.promise for line in lines] == PROMISES
    assert [str(line) for line in lines if line.kept is not True] == []
    assert not any("Unspecified" in str(line) for line in lines)


def test_the_probe_sees_what_is_open(pki: Pki, issued: Papers, tmp_path: Path) -> None:
    revoked = issued.issue(REVOKED)
    with running(pki, "amqtt", tmp_path, mtls=False) as broker:
        lines = list(Probe("localhost", broker.port, pki.authority.cert_pem, issued, revoked=revoked).run())
    kept = {line.promise: line.kept for line in lines}
    assert [promise for promise in PROMISES if kept[promise]] == [PROMISES[0], PROMISES[1], PROMISES[-1]]


def test_the_probe_says_that_nobody_is_there(pki: Pki, issued: Papers) -> None:
    lines = list(Probe("localhost", 1, pki.authority.cert_pem, issued).run())
    assert not any(line.kept for line in lines)


def test_a_listed_certificate_that_is_revoked_stays_out(pki: Pki, engine: str, issued: Papers, tmp_path: Path) -> None:
    """Here the list of names lets it in, and the list of revoked certificates alone keeps it out."""
    if engine == "rabbitmq" and not os.environ.get("ROOTLET_RABBIT"):
        pytest.skip("three starts of RabbitMQ: ROOTLET_RABBIT=1")
    files, again = issued.issue(REVOKED), issued.issue("dev-1")
    crl = issued.revoke(REVOKED)
    with running(pki, engine, tmp_path, devices=[REVOKED, "dev-1"], revoked=crl, sessions=True) as broker:
        with client(pki, broker, again, "rootlet/dev-1/cmd/#"):
            pass
        with pytest.raises(Failure):
            client(pki, broker, files, f"rootlet/{REVOKED}/cmd/#").__enter__()
        # Nor does it come back with a start that keeps what was there.
        broker.restart()
        with pytest.raises(Failure):
            client(pki, broker, files, f"rootlet/{REVOKED}/cmd/#").__enter__()
    with (
        running(pki, engine, tmp_path, devices=[REVOKED]) as broker,
        client(pki, broker, files, f"rootlet/{REVOKED}/cmd/#"),
    ):
        pass


@pytest.mark.parametrize("profile", ["strong", "fast"])
def test_mosquitto_refuses_who_is_not_listed(profile: str, tmp_path: Path) -> None:
    """By its name alone: also one that begins or goes on like a listed one; and it tells nobody the list."""
    if not table.engine("mosquitto").find():
        pytest.skip("mosquitto is not installed")
    authority = ca.init(tmp_path / "ca", subject="/C=FR/O=Acmé  Ltd/CN=Root x", profile=profile)
    server = authority.issue_server(["localhost"])
    own = Papers(authority, make(tmp_path / "papers"))
    with Broker(
        server.cert_pem, server.key_pem, authority.cert_pem, workdir=tmp_path, engine="mosquitto",
        devices=["dev-1", "Dev_2"], operators=[],
    ) as broker:  # fmt: skip

        def enters(name: str) -> Watcher:
            return Watcher("localhost", broker.port, authority.cert_pem, *own.issue(name), topic="x", timeout_s=5)

        for name in ("dev-1", "Dev_2", "observer"):
            with enters(name):
                pass
        for name in ("dev-11", "dev", "dev-2", "operator"):
            with pytest.raises(Failure):
                enters(name).__enter__()
        context = ssl.create_default_context(cafile=str(authority.cert_pem))
        with socket.create_connection(("127.0.0.1", broker.port), timeout=5) as raw:
            raw = context.wrap_socket(raw, server_hostname="localhost")
            seen = raw._sslobj.get_unverified_chain()  # type: ignore[attr-defined]
        assert [c.public_bytes().strip() for c in seen][1:] == [authority.cert_pem.read_text().strip()]
    with Broker(
        server.cert_pem, server.key_pem, authority.cert_pem, workdir=tmp_path, engine="mosquitto", devices=[],
        observers=[], operators=[],
    ) as broker, pytest.raises(Failure):  # fmt: skip
        enters("dev-1").__enter__()


def make(folder: Path) -> Path:
    folder.mkdir()
    return folder


def test_no_session_and_no_will_gives_the_rights_of_another(pki: Pki, engine: str, tmp_path: Path) -> None:
    """A client id is no secret: who names that of an operator is none, and a last will is a message like any other."""
    if engine == "rabbitmq" and not os.environ.get("ROOTLET_RABBIT"):
        pytest.skip("another start of RabbitMQ: ROOTLET_RABBIT=1")
    ca_file = pki.authority.cert_pem
    thief, victim = pki.authority.issue_device("a-thief", force=True), pki.clients["dev-1"]
    with running(pki, engine, tmp_path, devices=["a-thief", "dev-1"]) as broker:
        with Client(broker.port, ca_file, pki.clients["operator"], name="typing", clean=False) as operator:
            assert operator.subscribe("rootlet/#")
        with (
            Client(broker.port, ca_file, pki.clients["observer"], name="observer") as observer,
            Client(broker.port, ca_file, victim, name="dev-1") as device,
        ):
            assert observer.subscribe("rootlet/#") and device.subscribe("rootlet/dev-1/cmd")
            assert device.publish("rootlet/dev-1/x", "private")
            assert observer.next() == ("rootlet/dev-1/x", b"private")
            with contextlib.suppress(Refused), Client(broker.port, ca_file, thief, name="typing", clean=False) as wrong:
                wrong.publish("rootlet/dev-1/cmd", "evil", timeout_s=2)
                with pytest.raises(queue.Empty):
                    wrong.next(0.5)
            with contextlib.suppress(Refused):
                dies = Client(broker.port, ca_file, thief, name="a-thief")
                dies.paho.will_set("rootlet/dev-1/cmd", "evil", 1, retain=True)
                with dies:
                    dies.publish("rootlet/a-thief/x", "here")
                    assert observer.next() == ("rootlet/a-thief/x", b"here")
                    sock = dies.paho.socket()
                    assert sock is not None
                    sock.shutdown(socket.SHUT_RDWR)  # no goodbye
                    assert dies.gone.wait(10)
            assert device.publish("rootlet/dev-1/y", "marker")
            assert observer.next() == ("rootlet/dev-1/y", b"marker")
            assert device.messages.empty()


def test_a_revoked_observer_stays_out(pki: Pki, engine: str, issued: Papers, tmp_path: Path) -> None:
    if engine == "rabbitmq" and not os.environ.get("ROOTLET_RABBIT"):
        pytest.skip("another start of RabbitMQ: ROOTLET_RABBIT=1")
    gone = issued.issue(OBSERVER)
    crl = issued.revoke(OBSERVER)
    with (
        running(pki, engine, tmp_path, devices=[], observers=[OBSERVER], revoked=crl) as broker,
        pytest.raises(Failure),
    ):
        client(pki, broker, gone, "rootlet/#").__enter__()


def client(pki: Pki, broker: Broker, files: tuple[Path, Path], topic: str) -> Watcher:
    return Watcher("localhost", broker.port, pki.authority.cert_pem, *files, topic=topic, timeout_s=5)


@pytest.fixture
def nats(pki: Pki, tmp_path: Path) -> Iterator[Broker]:
    if not table.engine("nats").find():
        pytest.skip("nats is not installed: apt-get install nats-server")
    with running(pki, "nats", tmp_path, devices=["dev-1", "dev_2"]) as broker:
        yield broker


def test_nats_goes_by_the_common_name_alone(pki: Pki, nats: Broker, issued: Papers) -> None:
    """Alternative names are in lower case: Dev-1 has that of dev-1, which is listed, and is not let in."""
    with client(pki, nats, issued.issue("dev_2"), "rootlet/dev_2/cmd/#"):
        pass
    with pytest.raises(Failure):
        client(pki, nats, issued.issue("Dev-1"), "rootlet/dev-1/cmd/#").__enter__()
    for topic in ("rootlet/dev-1/#", "$MQTT/sub/#", "$JS/API/#", "#"):
        with pytest.raises(Failure):
            client(pki, nats, issued.issue("dev_2"), topic).__enter__()


def test_nats_lets_nobody_in_at_its_own_port(nats: Broker, tmp_path: Path) -> None:
    conf = tmp_path / "broker" / "nats.conf"
    assert conf.stat().st_mode & 0o777 == 0o600
    document = json.loads(conf.read_text())
    assert document["host"] == "127.0.0.1"
    assert nats_prepare.prepare(conf, "localhost") == "limits"
    with pytest.raises(nats_prepare.NotYet, match="mismatch"):
        nats_prepare.prepare(conf, "elsewhere.example")
    for user, word in ((nats_prepare.USER, "guess"), ("CN=dev-1", ""), ("CN=observer", "x")):
        document["authorization"]["users"] = [{"user": user, "password": word}]
        wrong = tmp_path / "wrong.conf"
        wrong.write_text(json.dumps(document))
        with pytest.MonkeyPatch.context() as patch, pytest.raises(nats_prepare.NotYet, match="Authorization"):
            patch.setattr(nats_prepare, "USER", user)
            nats_prepare.prepare(wrong, "localhost")


def test_nats_keeps_retained_messages_and_sends_wills(pki: Pki, nats: Broker) -> None:
    me = pki.clients["dev-1"]
    device = paho.Client(CallbackAPIVersion.VERSION2, client_id="dev-1")
    device.tls_set(str(pki.authority.cert_pem), str(me.cert_pem), str(me.key_pem))
    device.will_set("rootlet/dev-1/status", b"gone", 1, retain=True)
    device.connect("localhost", nats.port)
    device.loop_start()
    device.publish("rootlet/dev-1/status", b"here", 1, retain=True).wait_for_publish(5)
    mine = pki.clients["observer"]
    with client(pki, nats, (mine.cert_pem, mine.key_pem), "rootlet/#") as first:
        assert first.next(5) == ("rootlet/dev-1/status", b"here")
        device.loop_stop()
        sock = device.socket()
        assert sock is not None
        sock.shutdown(socket.SHUT_RDWR)  # no goodbye
        assert first.next(5) == ("rootlet/dev-1/status", b"gone")
    with client(pki, nats, (mine.cert_pem, mine.key_pem), "rootlet/#") as second:
        assert second.next(5) == ("rootlet/dev-1/status", b"gone")


def test_nats_refuses_an_id_that_parts_a_subject(pki: Pki, tmp_path: Path) -> None:
    with pytest.raises(Failure, match="NATS cannot take this device"):
        running(pki, "nats", tmp_path, devices=["a.b"])


def test_an_interrupted_start_leaves_nothing_behind(pki: Pki, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = running(pki, "amqtt", tmp_path)
    started: list[int] = []

    def interrupted() -> bool:
        started.append(broker.pid)
        raise KeyboardInterrupt

    monkeypatch.setattr(broker, "wait_ready", interrupted)
    with pytest.raises(KeyboardInterrupt):
        broker.__enter__()
    assert len(started) == 1 and not Path(f"/proc/{started[0]}").exists()


def test_the_command_ends_with_0_or_4(pki: Pki, tmp_path: Path) -> None:
    def check(*args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "host_tools", "broker", "--check", "--ca-dir", str(pki.authority.directory), *args],
            env={**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(FIRMWARE)])},
            capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    good = check("--engine", "amqtt", "--port", "0", "--devices")
    assert good.returncode == 0, good.stdout + good.stderr
    assert good.stdout.count("\nok ") == len(PROMISES) and "BROKEN" not in good.stdout
    assert "about" in good.stdout.splitlines()[-1] or "LimitNOFILE" in good.stdout.splitlines()[-1]
    with running(pki, "amqtt", tmp_path, mtls=False) as broker:
        bad = check(f"localhost:{broker.port}")
    assert bad.returncode == 4
    assert "BROKEN     no certificate is refused: it was let in" in bad.stdout
    assert bad.stderr.startswith("error: the broker does not keep its promises\nbecause: ")
    gone = check(f"localhost:{broker.port}")
    assert gone.returncode == 1 and "BROKEN" not in gone.stdout
    assert gone.stderr.startswith(f"error: no connection to localhost:{broker.port}\nbecause: ")
