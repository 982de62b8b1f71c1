"""The firmware's MQTT client on CPython and MicroPython, against a real Mosquitto, amqtt and NATS, by mutual TLS."""

import json
import socket
import time

import pytest

from host_tools.broker import Broker
from host_tools.failure import Exit, Failure
from host_tools.watch import Watcher
from tests.device_runner import INTERPRETERS, run_job

COUNT = 300


def job(pki, broker, steps, client="dev-1", **extra):
    issued = pki.clients[client]
    steps = [{"id": client, "port": broker.port, **step} for step in steps]
    return {
        "roots": [str(pki.authority.cert_der)],
        "clock": int(time.time()),
        "cert": str(issued.cert_der),
        "key": str(issued.key_der),
        "steps": steps,
        **extra,
    }


def watcher(pki, broker, **options):
    me = pki.clients["observer"]
    return Watcher("localhost", broker.port, pki.authority.cert_pem, me.cert_pem, me.key_pem, **options)


@pytest.mark.parametrize("interpreter", INTERPRETERS)
@pytest.mark.parametrize("qos", [0, 1])
def test_publish_reaches_an_independent_observer(interpreter, qos, pki, broker, tmp_path):
    topic = f"rootlet/dev-1/{interpreter}-{qos}"
    # amqtt writes a packet in pieces, so that Nagle's algorithm slows its deliveries to some 20 a second.
    count = COUNT if broker.engine == "mosquitto" else COUNT // 6
    steps = [
        {"do": "mqtt_connect"},
        {"do": "publish", "topic": topic, "text": "reading %d", "count": count, "qos": qos},
        {"do": "ping"},
        # amqtt drops what it has not yet handled when the sender says goodbye, also what it has acknowledged: the way
        # there and back of one more message tells that it has handled all.
        {"do": "subscribe", "topic": "rootlet/dev-1/cmd/#", "qos": 1, "echo": "rootlet/dev-1/cmd/led", "count": 1},
        {"do": "disconnect"},
    ]
    with watcher(pki, broker, topic=topic) as seen:
        results = run_job(interpreter, job(pki, broker, steps), tmp_path)
        messages = seen.wait_for(count, 20)
    assert results[0] == {"session": False, "ms": results[0]["ms"]}
    assert results[1]["acked"] == (count if qos else 0)
    assert results[2]["pong"] is True
    sent = [b"reading %d" % i for i in range(count)]
    payloads = [payload for _, payload in messages]
    assert sorted(payloads) == sorted(sent)
    assert {topic for topic, _ in messages} == {topic}


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_subscribe_receives(interpreter, pki, broker, tmp_path):
    steps = [
        {"do": "mqtt_connect"},
        {"do": "subscribe", "topic": "rootlet/dev-1/cmd/#", "qos": 1, "echo": "rootlet/dev-1/cmd/led", "count": 1},
        {"do": "disconnect"},
    ]
    results = run_job(interpreter, job(pki, broker, steps), tmp_path)
    assert results[1].get("got") == [["rootlet/dev-1/cmd/led", "hello"]], results


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_last_will_is_sent_when_the_connection_drops(interpreter, pki, broker, tmp_path):
    topic = f"rootlet/dev-1/will-{interpreter}"
    with watcher(pki, broker, topic=topic) as seen:
        steps = [{"do": "mqtt_connect", "will": [topic, "gone"]}, {"do": "drop"}]
        run_job(interpreter, job(pki, broker, steps), tmp_path)
        assert seen.next(15) == (topic, b"gone")


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_without_a_certificate_the_broker_refuses(interpreter, pki, broker, tmp_path):
    work = job(pki, broker, [{"do": "mqtt_connect"}])
    del work["cert"], work["key"]
    (result,) = run_job(interpreter, work, tmp_path)
    assert result.get("code") == "TLS_REFUSED", result


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_with_a_strangers_certificate_the_broker_refuses(interpreter, pki, broker, tmp_path):
    work = job(pki, broker, [{"do": "mqtt_connect"}])
    work |= {"cert": str(pki.stranger.cert_der), "key": str(pki.stranger.key_der)}
    (result,) = run_job(interpreter, work, tmp_path)
    assert result.get("code") == "TLS_REFUSED", result


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_a_missing_or_wrong_identity_is_named(interpreter, pki, broker, tmp_path):
    work = job(pki, broker, [{"do": "mqtt_connect"}])
    (result,) = run_job(interpreter, work | {"key": "absent.der"}, tmp_path)
    assert result["code"] == "TLS_IDENTITY"
    assert "absent.der" in result["fact"]
    (result,) = run_job(interpreter, work | {"key": work["cert"]}, tmp_path)
    assert result["code"] == "TLS_IDENTITY"


def test_a_device_cannot_write_for_another(pki, broker, tmp_path):
    """The forbidden message is dropped, the allowed one behind it arrives."""
    steps = [
        {"do": "mqtt_connect"},
        {"do": "publish", "topic": "rootlet/dev-2/forged", "text": "%d", "count": 1, "qos": 0},
        {"do": "publish", "topic": "rootlet/dev-1/own", "text": "%d", "count": 1, "qos": 0},
        {"do": "disconnect"},
    ]
    with watcher(pki, broker, topic="rootlet/+/+") as seen:
        run_job("micropython", job(pki, broker, steps), tmp_path)
        topics = []
        while "rootlet/dev-1/own" not in topics:
            topics.append(seen.next(10)[0])
    assert "rootlet/dev-2/forged" not in topics


def test_a_device_cannot_read_everything(pki, broker):
    me = pki.clients["dev-2"]
    with (
        watcher(pki, broker) as seen,
        Watcher("localhost", broker.port, pki.authority.cert_pem, me.cert_pem, me.key_pem, topic="rootlet/dev-2/cmd/#"),
    ):
        try:
            with Watcher("localhost", broker.port, pki.authority.cert_pem, me.cert_pem, me.key_pem) as spy:
                # Mosquitto consents and then delivers nothing; a message of its own would be the first to come.
                with pytest.raises(TimeoutError):
                    spy.next(0.5)
        except Failure as e:
            assert "subscription" in e.because
        assert seen


def test_the_observer_refuses_a_server_it_cannot_verify(pki, broker):
    with pytest.raises(Failure) as e, Watcher("localhost", broker.port, pki.stranger.cert_pem):
        pass
    assert e.value.code == Exit.UNVERIFIED


def test_users_with_passwords(pki, tmp_path):
    with Broker(
        pki.server.cert_pem,
        pki.server.key_pem,
        pki.authority.cert_pem,
        mtls=False,
        users={"dev-1": "open-sesame"},
        workdir=tmp_path,
    ) as broker:
        steps = [{"do": "mqtt_connect", "user": "dev-1", "password": "open-sesame"}, {"do": "disconnect"}]
        work = job(pki, broker, steps)
        del work["cert"], work["key"]
        results = run_job("micropython", work, tmp_path)
        assert "code" not in results[0], results
        work["steps"] = [
            {"do": "mqtt_connect", "id": "x", "port": broker.port, "user": "dev-1", "password": "guess-me"}
        ]
        (result,) = run_job("micropython", work, tmp_path)
        assert result["code"] == "MQTT_REFUSED"
        assert "guess-me" not in json.dumps(result)
        for name in ("mosquitto.conf", "passwords.txt", "amqtt.json"):
            path = tmp_path / "broker" / name
            assert not path.exists() or path.stat().st_mode & 0o77 == 0
        assert "open-sesame" not in broker.log


def test_a_taken_port_is_told(pki, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        broker = Broker(
            pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem, workdir=tmp_path, port=port, engine="auto"
        )
        with pytest.raises(Failure) as e, broker:
            pass
        assert str(port) in e.value.because
