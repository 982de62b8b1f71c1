"""Who may do what at RabbitMQ: regular expressions on the names of queues and on topics, levels separated by "."."""

import re
from dataclasses import dataclass

from host_tools.engines.settings import Settings, listed

NOTHING = "(?!)"
_END = r"$(?!\n)"  # `$` alone would let one line end more pass
_OWN_ID = 22
_DEVICE_CONNECTIONS = 4  # one that is dead may stay for one and a half keepalives


@dataclass(frozen=True)
class Rights:
    """Regular expressions: `queues` to make, `objects` (queues and the exchange) to use; topics to `write`, to `read`.

    connections: how many at once, or None for no bound.
    """

    queues: str
    objects: str
    write: str
    read: str
    connections: int | None


def anybody_known(settings: Settings) -> list[str]:
    """Every identity, each once: operators, observers, devices, users."""
    return list(dict.fromkeys([*settings.operators, *settings.observers, *devices(settings)]))


def devices(settings: Settings) -> tuple[str, ...]:
    """The identities that come in as devices."""
    if settings.mtls:
        return listed(settings)
    return tuple(settings.users)


def rights(settings: Settings) -> dict[str, Rights]:
    """The rights of each identity; one that is in two lists has those of both."""
    names = devices(settings)
    among = frozenset(names)
    own = "" if any(len(name) == _OWN_ID for name in names) else rf"|[\w-]{{{_OWN_ID}}}"
    return {name: _rights(settings, name, name in among, own) for name in anybody_known(settings)}


def _either(parts: list[str]) -> str:
    return f"^(?:{'|'.join(parts)}){_END}" if parts else NOTHING


def _rights(settings: Settings, name: str, is_device: bool, own: str) -> Rights:
    me = re.escape(name)
    prefix = re.escape(settings.home_assistant.replace("/", ".")) if settings.home_assistant else None
    reader = name in settings.observers or name in settings.operators
    write, read = [], []
    if is_device:
        write.append(rf"rootlet\.{me}\.[\s\S]*")
        read.append(rf"rootlet\.{me}\.cmd(?:\.[\s\S]*)?")
        if prefix:
            write.append(rf"{prefix}\.sensor\.{me}\.[^.]+\.config")
    if name in settings.operators:
        write.append(r"rootlet\.[^.]+\.cmd")
    if reader:
        read.append(r"rootlet(?:\.[\s\S]*)?")
        if prefix:
            read.append(rf"{prefix}(?:\.[\s\S]*)?")
    # A session is a queue with the client id in its name: a device's is its own and nobody else's. To a client without
    # an id RabbitMQ gives one of 22 characters, which is allowed where no device is called so.
    queue = r"mqtt-subscription-[\s\S]*" if reader else rf"mqtt-subscription-(?:{me}{own})qos[01]"
    bound = None if reader else _DEVICE_CONNECTIONS
    return Rights(_either([queue]), _either([queue, r"amq\.topic"]), _either(write), _either(read), bound)
