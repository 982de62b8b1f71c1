"""NATS with JetStream: one machine or a cluster; MQTT topics are NATS subjects, with "." for "/".

The server looks for the certificate's alternative names among its users first, then for the whole subject. Users are
listed by subject (CN=ID), so that the common name alone decides. A certificate of the CA whose name is not listed is
refused, and so leaving a name out is what revokes it: NATS knows no CRL. Nodes of a cluster need a certificate for both
ends of a connection and a shared secret beside it: any device has a certificate of the CA, too.
"""

import json
import re
import secrets
import shutil
from pathlib import Path
from typing import Any

from host_tools import certinfo
from host_tools.engines import nats_prepare
from host_tools.engines.settings import (
    ANY,
    Settings,
    Start,
    accepts,
    free_port,
    listed,
    no_shared_keys,
    private,
    taken_back,
)
from host_tools.failure import Exit, Failure

NAME = "nats"
INSTALL = "apt-get install nats-server"
LIMITS = ("one file for a connection, and some for JetStream", "its own bound, max_connections, is set to 1,000,000")
MOST = None
START_S = 30.0
CLUSTER = True
MAX_CONNECTIONS = 1_000_000
_FILE_BYTES = 1 << 30
_MEMORY_BYTES = 256 << 20
_MAX_ACK_PENDING = 1000
_ANYBODY = "anybody"
CLIENT_PORT = 4222
_LEADER = b"metadata leader"
_MOST_LOG = 1 << 20  # of a log that was begun at this start
# What a subject cannot say: "." and spaces part it, "*" and ">" are wildcards.
_NO_TOKEN = re.compile(r"[\s.*>]")


def find() -> str | None:
    """The program; Debian keeps it in sbin, which is not on every PATH."""
    return shutil.which("nats-server") or shutil.which(
        "nats-server", path="/usr/sbin:/usr/local/sbin:/opt/homebrew/bin"
    )


def refuse(settings: Settings) -> None:
    """Raise Failure for what NATS cannot do."""
    if settings.psk:
        raise no_shared_keys("NATS")
    if settings.mtls:
        taken_back(settings)
        for name in listed(settings):
            _token(name)


def _token(name: str) -> str:
    """A name as a part of a subject. Raises Failure: "a.b" would be the device a's topic b."""
    if not name or _NO_TOKEN.search(name):
        raise Failure(
            "NATS cannot take this device",
            f"the id {name[:40]!r} has a '.', a space, '*' or '>', which part a NATS subject",
            "issue it under another id, or --engine mosquitto",
            Exit.USAGE,
        )
    return name


def configure(settings: Settings) -> Start:
    """Write nats.conf (a superset of JSON, and we write JSON)."""
    path = private(settings, "nats.conf", json.dumps(_document(settings), indent=1) + "\n")
    prepare = private(settings, "nats_prepare.py", Path(nats_prepare.__file__).read_text())
    after = ["/usr/bin/python3", str(prepare), str(path), _own_name(settings.cert)]
    return Start([find() or "/usr/sbin/nats-server", "-c", str(path)], files=[path, prepare], after=after)


def _document(settings: Settings) -> dict[str, Any]:
    tls: dict[str, Any] = {"cert_file": str(settings.cert), "key_file": str(settings.key), "timeout": 10}
    tls["ca_file"] = str(settings.ca)
    node = settings.node
    document: dict[str, Any] = {
        "server_name": node.name if node else "rootlet",
        "host": "127.0.0.1",
        # NATS itself listens on loopback only, with TLS, and lets one user in, by a secret: see nats_prepare.
        "port": CLIENT_PORT if settings.bind in ANY else free_port("127.0.0.1"),
        "tls": tls,
        "max_connections": MAX_CONNECTIONS,
        "max_payload": 65536,
        "jetstream": {
            "store_dir": str(settings.directory / "jetstream"),
            "max_file_store": _FILE_BYTES,
            "max_memory_store": _MEMORY_BYTES,
        },
        "mqtt": {
            "host": settings.bind,
            "port": settings.port,
            "tls": tls | ({"verify_and_map": True} if settings.mtls else {}),
            "max_ack_pending": _MAX_ACK_PENDING,
            "ack_wait": "10s",
        },
    }
    setup = {
        "user": nats_prepare.USER,
        "password": settings.secret or secrets.token_hex(32),
        "permissions": {"publish": {"allow": ["$JS.API.STREAM.>"]}, "subscribe": {"allow": ["_INBOX.>"]}},
        "allowed_connection_types": ["STANDARD"],
    }
    document["authorization"] = {"users": [setup, *_users(settings)], "timeout": 10}
    if not settings.mtls and not settings.users:
        document["mqtt"]["no_auth_user"] = _ANYBODY
    if node:
        document["cluster"] = _cluster(settings)
        # Left to itself it takes as many copies as it sees machines when the first client comes: of two copies the loss
        # of either machine stops all.
        copies = min(3, len(settings.nodes))
        document["mqtt"] |= {"stream_replicas": copies, "consumer_replicas": copies}
    return document


def _users(settings: Settings) -> list[dict[str, Any]]:
    if not settings.mtls and not settings.users:
        return [{"user": _ANYBODY, "password": secrets.token_hex(32), "allowed_connection_types": ["MQTT"]}]
    gone = taken_back(settings)
    names = [name for name in (listed(settings) if settings.mtls else settings.users) if name not in gone]
    readers = {*settings.observers, *settings.operators} - gone
    devices = [name for name in names if name not in readers]
    made = {name: _device(settings, name) for name in devices} | {name: _reader(settings, name) for name in readers}
    return [
        {
            # Never a bare name, which could be an alternative name: those are in lower case, and ids are not.
            **({"user": f"CN={name}"} if settings.mtls else {"user": name, "password": settings.users[name]}),
            "permissions": permissions,
            "allowed_connection_types": ["MQTT"],
        }
        for name, permissions in sorted(made.items())
        if settings.mtls or name in settings.users
    ]


def _device(settings: Settings, name: str) -> dict[str, Any]:
    token = _token(name)
    publish = [f"rootlet.{token}.>"]
    if settings.home_assistant:
        publish.append(f"{_subject(settings.home_assistant)}.sensor.{token}.*.config")
    return _permissions(publish, [f"rootlet.{token}.cmd", f"rootlet.{token}.cmd.>"])


def _reader(settings: Settings, name: str) -> dict[str, Any]:
    read = ["rootlet", "rootlet.>"]
    if settings.home_assistant:
        prefix = _subject(settings.home_assistant)
        read += [prefix, f"{prefix}.>"]
    return _permissions(["rootlet.*.cmd"] if name in settings.operators else [], read)


def _permissions(publish: list[str], subscribe: list[str]) -> dict[str, Any]:
    # The server delivers QoS 1 to a subject of its own below $MQTT.sub, in the name of the client.
    return {"publish": {"allow": publish or ["rootlet.-"]}, "subscribe": {"allow": [*subscribe, "$MQTT.sub.>"]}}


def _subject(prefix: str) -> str:
    return prefix.replace("/", ".")


def _cluster(settings: Settings) -> dict[str, Any]:
    node = settings.node
    assert node is not None  # noqa: S101
    return {
        "name": "rootlet",
        "listen": f"{settings.bind}:{node.cluster_port}",
        "tls": {
            "cert_file": str(node.cert),
            "key_file": str(node.key),
            "ca_file": str(settings.ca),
            "verify": True,
            "timeout": 10,
        },
        "authorization": {"user": "node", "password": settings.secret, "timeout": 10},
        "routes": [
            f"nats-route://node:{settings.secret}@{other.address}:{other.cluster_port}"
            for other in settings.nodes
            if other.name != node.name
        ],
    }


def _own_name(cert: Path) -> str:
    """A name or address that a server certificate has."""
    facts = certinfo.describe(certinfo.read_certificates(cert)[0])
    name: str = next(iter([*facts["dns"], *facts["ips"]]), "localhost")
    return name.replace("*", "nats", 1)


def ready(settings: Settings) -> bool:
    """Whether MQTT is served and, in a cluster, JetStream has a leader: before that no client can connect."""
    if settings.node is not None:
        # The monitoring port would tell, too, but it would tell everybody on this machine.
        try:
            with (settings.directory / "log.txt").open("rb") as log:
                if _LEADER not in log.read(_MOST_LOG):
                    return False
        except FileNotFoundError:
            return False
    if not accepts(settings):
        return False
    try:
        nats_prepare.prepare(settings.directory / "nats.conf", _own_name(settings.cert))
    except nats_prepare.NotYet:
        return False
    return True
