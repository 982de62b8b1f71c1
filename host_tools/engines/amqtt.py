"""amqtt: the embedded broker, in a process of its own; see amqtt_serve for what runs there."""

import importlib.util
import json
import sys

from host_tools.engines.settings import Settings, Start, accepts, no_cluster, private
from host_tools.failure import Exit, Failure

NAME = "amqtt"
INSTALL = "pip install 'rootlet[broker]'"
LIMITS = ("one file for a connection; its own bound is 1000 connections: more by --engine mosquitto or nats",)
MOST = 1000
START_S = 20.0
CLUSTER = False

ready = accepts


def find() -> str | None:
    """The interpreter that runs it."""
    return sys.executable if importlib.util.find_spec("amqtt") else None


def refuse(settings: Settings) -> None:
    """Raise Failure for what amqtt cannot do."""
    if settings.psk:
        raise Failure(
            "amqtt has no pre-shared keys",
            "it stands on Python's ssl, which has had them since 3.13 only",
            "rootlet broker --engine mosquitto --psk DIR",
            Exit.USAGE,
        )
    if settings.node:
        raise no_cluster(NAME)


def configure(settings: Settings) -> Start:
    """Write amqtt.json."""
    values = {
        "cert": str(settings.cert),
        "key": str(settings.key),
        "ca": str(settings.ca),
        "bind": settings.bind,
        "port": settings.port,
        "mtls": settings.mtls,
        "observers": settings.observers,
        "operators": settings.operators,
        "devices": settings.devices,
        "revoked": str(settings.revoked) if settings.revoked else None,
        "users": settings.users,
        "home_assistant": settings.home_assistant,
        "key_log": str(settings.key_log.resolve()) if settings.key_log else None,
    }
    path = private(settings, "amqtt.json", json.dumps(values))
    return Start([sys.executable, "-m", "host_tools.engines.amqtt_serve", str(path)], files=[path])
