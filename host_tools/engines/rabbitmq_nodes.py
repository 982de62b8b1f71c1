"""The Erlang side of RabbitMQ: node names, the cookie, who may join, and TLS between nodes."""

import contextlib
import ipaddress
import secrets
from dataclasses import dataclass, field
from pathlib import Path

from host_tools.engines.settings import Settings, private

EPMD_PORT = 4369


@dataclass(frozen=True)
class Names:
    """How a node is called and found: the environment of its start, and the files that it needs."""

    epmd_port: int
    env: dict[str, str]
    files: list[Path] = field(default_factory=list)


def _free_port() -> int:
    from host_tools.broker import free_port

    return free_port("127.0.0.1")


def _is_loopback(address: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(address).is_loopback
    return address == "localhost"


def cookie(settings: Settings) -> Path:
    """The secret that nodes show each other; one that is there is kept."""
    path = settings.directory / ".erlang.cookie"
    if not path.exists():
        return private(settings, path.name, secrets.token_hex(32))
    path.chmod(0o600)
    return path


def names(settings: Settings) -> Names:
    """A node alone is bound to loopback, at ports found free."""
    epmd_port, port = _free_port(), _free_port()
    env = {
        "RABBITMQ_USE_LONGNAME": "true",
        "RABBITMQ_NODENAME": "rootlet@127.0.0.1",
        "RABBITMQ_DIST_PORT": str(port),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        "ERL_EPMD_PORT": str(epmd_port),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
    }
    return Names(epmd_port, env)


def formation(settings: Settings) -> list[str]:
    """The lines of rabbitmq.conf that name the nodes of a cluster."""
    return []


def revocation(settings: Settings) -> list[str]:
    """The TLS options that refuse the certificates of a CRL."""
    return []
