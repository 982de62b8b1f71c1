"""RabbitMQ as Rootlet runs it: who comes in, what each may do, and that nothing of it stays behind."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_tools.broker import Broker
from host_tools.engines import rabbitmq
from tests.integration.conftest import Pki
from tests.integration.mqtt_client import Client, Refused

pytestmark = pytest.mark.skipif(not rabbitmq.find(), reason="rabbitmq-server is not installed")


def make(pki: Pki, folder: Path, **options: object) -> Broker:
    wanted = {"devices": ["dev-1", "dev-3"], "engine": "rabbitmq", **options}
    return Broker(pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem, workdir=folder, **wanted)


def left_over(folder: Path) -> list[str]:
    """The processes of a broker in that folder, found by their environment."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        try:
            if str(folder).encode() in (process / "environ").read_bytes() and int(process.name) != os.getpid():
                found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode()[:80])
        except OSError:
            continue
    return found


def nothing_left(folder: Path) -> None:
    # The port mapper's keeper learns of the end by a closed pipe, so a moment later than we do.
    end = time.monotonic() + 10
    while left := left_over(folder):
        assert time.monotonic() < end, left
        time.sleep(0.05)


@pytest.fixture(scope="module")
def rabbit(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    folder = tmp_path_factory.mktemp("rabbit")
    pki.clients.setdefault("dev-3", pki.authority.issue_device("dev-3"))
    with make(pki, folder, home_assistant="homeassistant") as running:
        yield running


def client(pki: Pki, broker: Broker, who: str, **options: object) -> Client:
    return Client(broker.port, pki.authority.cert_pem, pki.clients[who], **options)


def test_a_reading_reaches_an_observer_and_a_command_its_device(pki: Pki, rabbit: Broker) -> None:
    with (
        client(pki, rabbit, "observer") as observer,
        client(pki, rabbit, "dev-1", name="dev-1") as device,
        client(pki, rabbit, "operator") as operator,
    ):
        assert observer.subscribe("rootlet/#")
        assert device.subscribe("rootlet/dev-1/cmd")
        assert device.publish("rootlet/dev-1/t/1", "21.5")
        assert observer.next() == ("rootlet/dev-1/t/1", b"21.5")
        assert operator.publish("rootlet/dev-1/cmd", "go")
        assert device.next() == ("rootlet/dev-1/cmd", b"go")
        assert device.publish("homeassistant/sensor/dev-1/t/config", "{}")
        # Had the broker let one through that it should not, it would come before this one.
        assert observer.next() == ("rootlet/dev-1/cmd", b"go")


def test_a_session_of_a_device_waits_for_it(pki: Pki, rabbit: Broker) -> None:
    with client(pki, rabbit, "dev-1", name="dev-1", clean=False) as device:
        assert device.subscribe("rootlet/dev-1/cmd")
    with client(pki, rabbit, "operator") as operator:
        assert operator.publish("rootlet/dev-1/cmd", "later")
    with client(pki, rabbit, "dev-1", name="dev-1", clean=False) as device:
        assert device.next() == ("rootlet/dev-1/cmd", b"later")


@pytest.mark.parametrize(
    "topic",
    ["rootlet/dev-3/t/1", "rootlet/dev-1", "rootlet/dev-11/x", "other/x", "rootlet/dev-3/cmd",
     "homeassistant/sensor/dev-3/t/config"],
)  # fmt: skip
def test_a_device_writes_nowhere_else(topic: str, pki: Pki, rabbit: Broker) -> None:
    with client(pki, rabbit, "dev-1", name="dev-1") as device:
        assert not device.publish(topic)


@pytest.mark.parametrize(
    "topic", ["#", "rootlet/#", "rootlet/+/cmd", "rootlet/dev-3/cmd", "rootlet/dev-1/#", "+/dev-1/cmd"]
)
def test_a_device_reads_nothing_else(topic: str, pki: Pki, rabbit: Broker) -> None:
    with client(pki, rabbit, "dev-1", name="dev-1") as device:
        assert not device.subscribe(topic)


def test_a_device_takes_no_session_of_another(pki: Pki, rabbit: Broker) -> None:
    with client(pki, rabbit, "dev-1", name="dev-3", clean=False) as device:
        assert not device.subscribe("rootlet/dev-1/cmd")


def test_an_observer_only_reads(pki: Pki, rabbit: Broker) -> None:
    with client(pki, rabbit, "observer") as observer:
        assert not observer.publish("rootlet/dev-1/cmd")
    with client(pki, rabbit, "operator") as operator:
        assert not operator.publish("rootlet/dev-1/t/1")


def test_who_is_not_listed_is_refused(pki: Pki, rabbit: Broker) -> None:
    with pytest.raises(Refused), client(pki, rabbit, "dev-2", name="dev-2"):
        pass


@pytest.mark.parametrize(
    ("user", "word"), [("guest", "guest"), ("operator", ""), ("operator", "operator"), ("nobody", "")]
)
def test_a_password_opens_nothing(user: str, word: str, pki: Pki, rabbit: Broker) -> None:
    with pytest.raises(Refused), client(pki, rabbit, "dev-1", user=user, word=word):
        pass


def test_without_a_certificate_of_the_ca_there_is_no_connection(pki: Pki, rabbit: Broker) -> None:
    for who in (None, pki.stranger):
        with pytest.raises(Refused), Client(rabbit.port, pki.authority.cert_pem, who):
            pass


def test_all_listens_on_loopback_and_all_files_are_private(pki: Pki, rabbit: Broker) -> None:
    folder = rabbit._dir
    for name in ("rabbitmq.conf", "advanced.config", "definitions.json", ".erlang.cookie", "data"):
        assert (folder / name).stat().st_mode & 0o077 == 0, name
    word = next(line for line in (folder / "rabbitmq.conf").read_text().splitlines() if "default_pass" in line)
    secrets = [word.split()[-1], (folder / ".erlang.cookie").read_text()]
    log = (folder / "log.txt").read_text()
    assert "RabbitMQ" in log and not any(secret in log for secret in secrets)
    listening = subprocess.run(["ss", "-Hltnp"], capture_output=True, text=True, check=True).stdout.splitlines()
    ours = [line.split()[3] for line in listening if f"pid={rabbit.pid}," in line]
    assert len(ours) == 2 and all(address.startswith("127.0.0.1:") for address in ours)


@pytest.mark.skipif(not os.environ.get("ROOTLET_RABBIT"), reason="another start of RabbitMQ: ROOTLET_RABBIT=1")
def test_a_broker_that_ends_in_order_leaves_nothing_behind(pki: Pki, tmp_path: Path) -> None:
    with make(pki, tmp_path):
        assert any("beam" in command for command in left_over(tmp_path))
    nothing_left(tmp_path)


def test_a_broker_that_is_killed_leaves_nothing_behind(rabbit: Broker) -> None:
    # The last of this file: the others need the broker.
    folder = rabbit._dir
    assert any("beam" in command for command in left_over(folder))
    rabbit.kill()
    nothing_left(folder)
