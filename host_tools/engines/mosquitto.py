"""Mosquitto: one process, small and quick; the certificate's common name is the user of its access list."""

import os
import shutil
import subprocess
from pathlib import Path

from host_tools import psk as shared_keys
from host_tools.engines import mosquitto_gate
from host_tools.engines.settings import Settings, Start, accepts, no_cluster, private
from host_tools.failure import Failure

NAME = "mosquitto"
INSTALL = "apt-get install mosquitto, or --engine amqtt"
LIMITS = (
    "one file for a connection; its own bound is max_connections (none by default)",
    "a client ends the session of another with its client id, and what waited there: with a certificate of its own, "
    "and without reading it",
)
MOST = None
START_S = 20.0
CLUSTER = False
_QUEUE_BYTES = 64 << 20
_PSK_CIPHERS = "PSK-AES128-GCM-SHA256:PSK-AES256-GCM-SHA384"

ready = accepts


def _program(name: str) -> str | None:
    """A program of the Mosquitto package; Debian keeps the broker in sbin, which is not on every PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")


def find() -> str | None:
    """The broker's program."""
    return _program("mosquitto")


def refuse(settings: Settings) -> None:
    """Raise Failure for what Mosquitto cannot do."""
    if settings.node:
        raise no_cluster("mosquitto")


def configure(settings: Settings) -> Start:
    """Write mosquitto.conf and what it names."""
    files: list[Path] = []
    cert, ca = settings.cert, settings.ca
    if settings.mtls and settings.devices is not None:
        names = (*settings.devices, *settings.observers, *settings.operators)
        ca, cert = mosquitto_gate.write(settings, names)
        files += [ca, cert]
    lines = [
        f"listener {settings.port} {settings.bind}",
        f"certfile {cert}",
        f"keyfile {settings.key}",
        "tls_version tlsv1.2",
        *_persistence(settings),
        "set_tcp_nodelay true",
        # A fleet that comes back sends all it kept, and an observer must get it all: many on their way to it, and
        # more in the queue. Bounded by bytes, for each client.
        "max_inflight_messages 1000",
        "max_queued_messages 200000",
        f"max_queued_bytes {_QUEUE_BYTES}",
        "max_packet_size 65536",
        "log_dest stderr",
        "log_type error",
        "log_type warning",
        "log_type notice",
    ]
    if os.geteuid() == 0:
        lines.append("user root")  # else it becomes user mosquitto, who cannot read a key of mode 0600
    if settings.mtls:
        lines += [f"cafile {ca}", "require_certificate true", "use_identity_as_username true"]
        if settings.revoked:
            lines.append(f"crlfile {settings.revoked}")
    elif settings.users:
        files.append(_passwords(settings))
        lines += ["allow_anonymous false", f"password_file {files[-1]}"]
    else:
        lines.append("allow_anonymous true")
    if settings.mtls or settings.users:
        files.append(private(settings, "acl.txt", "\n".join(_access(settings)) + "\n"))
        lines.append(f"acl_file {files[-1]}")
    if settings.psk:
        files.append(private(settings, "psk.txt", shared_keys.mosquitto_lines(settings.psk)))
        lines += _shared_keys(settings, files[-1])
    path = private(settings, "mosquitto.conf", "\n".join(lines) + "\n")
    return Start([str(find()), "-c", str(path)], files=[path, *files])


def _access(settings: Settings) -> list[str]:
    if settings.devices is None:
        acl = [f"pattern {rule}" for rule in _device(settings, "%u")]
    else:
        # OpenSSL compares names without regard to case and spaces, this list does not: it decides.
        acl = []
        for name in settings.devices:
            acl += [f"user {name}", *(f"topic {rule}" for rule in _device(settings, name))]
    read = ["topic read rootlet/#"]
    if settings.home_assistant:
        read.append(f"topic read {settings.home_assistant}/#")
    for name in settings.observers:
        acl += [f"user {name}", *read]
    for name in settings.operators:
        acl += [f"user {name}", *read, "topic write rootlet/+/cmd"]
    return acl


def _device(settings: Settings, name: str) -> list[str]:
    rules = [f"write rootlet/{name}/#", f"read rootlet/{name}/cmd/#"]
    if settings.home_assistant:
        rules.append(f"write {settings.home_assistant}/sensor/{name}/+/config")
    return rules


def _persistence(settings: Settings) -> list[str]:
    if not settings.sessions:
        return ["persistence false"]
    return ["persistence true", f"persistence_location {settings.directory.resolve()}/"]


def _shared_keys(settings: Settings, keys: Path) -> list[str]:
    """A listener that takes nothing but AEAD suites with a pre-shared key; the identity is the user of the ACL."""
    return [
        f"psk_file {keys}",
        f"listener {settings.psk_port} {settings.bind}",
        "psk_hint rootlet",
        f"ciphers {_PSK_CIPHERS}",
        "tls_version tlsv1.2",
        "use_identity_as_username true",
    ]


def _passwords(settings: Settings) -> Path:
    path = private(settings, "passwords.txt", "".join(f"{user}:{word}\n" for user, word in settings.users.items()))
    program = _program("mosquitto_passwd")
    if not program:
        raise Failure("user names need mosquitto_passwd", "it is not installed", "apt-get install mosquitto")
    subprocess.run([program, "-U", str(path)], check=True, capture_output=True, timeout=30)
    return path
