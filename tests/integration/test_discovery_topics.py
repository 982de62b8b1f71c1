"""Home Assistant's discovery topics on real brokers: a device writes its own, and nobody else's."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from host_tools.broker import Broker, choose
from host_tools.failure import Exit, Failure
from host_tools.watch import Watcher
from tests.integration.conftest import Pki

WRONG = [
    "homeassistant/sensor/dev-2/kitchen_temperature/config",
    "homeassistant/sensor/+/kitchen_temperature/config",
    "homeassistant/sensor/dev-1/config",
    "homeassistant/sensor/dev-1/a/b/config",
    "homeassistant/sensor/dev-1/kitchen_temperature/state",
    "homeassistant/switch/dev-1/kitchen_temperature/config",
    "homeassistant/sensor/dev-11/kitchen_temperature/config",
    "homeassistant/status",
    "rootlet/dev-2/kitchen",
]
RIGHT = "homeassistant/sensor/dev-1/kitchen_temperature/config"


@pytest.fixture(params=["mosquitto", "amqtt", "nats"])
def engine(request: pytest.FixtureRequest) -> Iterator[str]:
    try:
        yield choose(request.param)
    except Failure:
        pytest.skip(f"{request.param} is not installed")


def client(pki: Pki, broker: Broker, name: str, topic: str | list[str]) -> Watcher:
    me = pki.clients[name]
    return Watcher("localhost", broker.port, pki.authority.cert_pem, me.cert_pem, me.key_pem, topic=topic)


def seen(pki: Pki, running: Broker, topics: list[str]) -> list[str]:
    """Which of the messages of dev-1 an observer gets."""
    with (
        client(pki, running, "observer", ["homeassistant/#", "rootlet/#"]) as observer,
        client(pki, running, "dev-1", "rootlet/dev-1/cmd/#") as device,
    ):
        for topic in topics:
            if "+" not in topic:  # the client itself refuses those
                device.publish(topic, b"{}", 10)
        device.publish("rootlet/dev-1/last", b"", 10)
        got = []
        while not got or got[-1] != "rootlet/dev-1/last":
            got.append(observer.next(10)[0])
        return got[:-1]


def test_a_device_writes_its_own_discovery_topics_only(pki: Pki, engine: str, tmp_path: Path) -> None:
    files = (pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem)
    with Broker(*files, workdir=tmp_path, engine=engine, home_assistant="homeassistant") as running:
        assert seen(pki, running, [*WRONG, RIGHT]) == [RIGHT]
        try:
            # amqtt and NATS refuse the subscription; Mosquitto grants it, and delivers nothing of it.
            with (
                client(pki, running, "dev-1", ["homeassistant/#", "rootlet/dev-1/cmd/#"]) as nosy,
                client(pki, running, "dev-2", "rootlet/dev-2/cmd/#") as other,
            ):
                other.publish("homeassistant/sensor/dev-2/x/config", b"{}", 10)
                nosy.publish("rootlet/dev-1/cmd/mark", b"", 10)
                assert nosy.next(10)[0] == "rootlet/dev-1/cmd/mark"
        except Failure as failure:
            assert engine in ("amqtt", "nats") and "homeassistant/#" in failure.because, failure


def test_nobody_touches_them_unless_that_was_asked_for(pki: Pki, engine: str, tmp_path: Path) -> None:
    files = (pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem)
    with Broker(*files, workdir=tmp_path, engine=engine) as running:
        with client(pki, running, "dev-1", "rootlet/dev-1/cmd/#") as device:
            with client(pki, running, "observer", "rootlet/#") as observer:
                device.publish(RIGHT, b"{}", 10)
                device.publish("rootlet/dev-1/last", b"", 10)
                assert observer.next(10)[0] == "rootlet/dev-1/last"


@pytest.mark.parametrize("prefix", ["", "rootlet", "rootlet/dev-2", "a/#", "+", "a\ntopic write #", "%u", "/a", "a/"])
def test_a_prefix_that_opens_more_is_refused(pki: Pki, prefix: str, tmp_path: Path) -> None:
    files = (pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem)
    with pytest.raises(Failure) as caught:
        Broker(*files, workdir=tmp_path, home_assistant=prefix)
    assert caught.value.code == Exit.USAGE and "\n" not in caught.value.because
