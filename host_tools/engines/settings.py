"""What every engine is told, and what it answers: a command to run and the files that it needs."""

import socket
from dataclasses import dataclass, field
from pathlib import Path

from host_tools.failure import Exit, Failure
from host_tools.safe_write import PRIVATE, File, write_all

ANY = ("0.0.0.0", "::")  # noqa: S104


@dataclass(frozen=True)
class Node:
    """One machine of a cluster.

    Args:
        name: of the node, letters, digits and "-". address: where it listens and the others reach it.
        port: of MQTT over TLS. cluster_port: where the other nodes connect.
        cert, key: PEM files of this node; the certificate names its address.
    """

    name: str
    address: str
    port: int
    cluster_port: int
    cert: Path
    key: Path


@dataclass(frozen=True)
class Settings:
    """What a broker is to do.

    Args:
        cert, key: PEM files of the server (chain with the leaf first). ca: PEM file of the CA that devices come from.
        bind: address; port: of MQTT over TLS.
        mtls: clients need a certificate of that CA; its common name is their identity.
        observers: identities that may read everything. operators: those that may also send commands.
        devices: identities that may come in as devices; None: any of the CA.
        revoked: PEM file of a CRL of that CA, or None.
        users: user to password, without mutual TLS.
        home_assistant: prefix of Home Assistant's discovery topics, or None.
        sessions: sessions and retained messages outlive an end of the broker.
        directory: folder of its own for what the engine writes; it exists.
        node, nodes: this machine and all of a cluster; None and empty: one machine alone.
        secret: what the nodes of a cluster know beside their certificates, the same on each.
        psk: folder of `rootlet psk` for a second listener at psk_port. key_log: file for the secrets of connections.
    """

    cert: Path
    key: Path
    ca: Path
    bind: str
    port: int
    directory: Path
    mtls: bool = True
    observers: tuple[str, ...] = ()
    operators: tuple[str, ...] = ()
    devices: tuple[str, ...] | None = None
    revoked: Path | None = None
    users: dict[str, str] = field(default_factory=dict, repr=False)
    home_assistant: str | None = None
    sessions: bool = False
    node: Node | None = None
    nodes: tuple[Node, ...] = ()
    secret: str = field(default="", repr=False)
    psk: Path | None = None
    psk_port: int = 0
    key_log: Path | None = None


@dataclass(frozen=True)
class Start:
    """How to run a broker: `env` is added to the environment; `files` are those that were written.

    `after`: a command that a machine of its own runs after the start; here, `ready` does the same.
    """

    command: list[str]
    env: dict[str, str] = field(default_factory=dict)
    files: list[Path] = field(default_factory=list)
    after: list[str] = field(default_factory=list)


def private(settings: Settings, name: str, text: str) -> Path:
    """Write a file of mode 0600 into the settings' folder; what was there is replaced. Raises Failure."""
    path = settings.directory / name
    write_all([File(path, text.encode(), PRIVATE)], force=True, keep_backup=False)
    return path


def free_port(bind: str) -> int:
    """A TCP port that nobody listens on at that address just now."""
    with socket.socket() as s:
        s.bind((bind, 0))
        port: int = s.getsockname()[1]
        return port


def reachable(bind: str) -> str:
    """The address at which this machine reaches what listens at `bind`."""
    return {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(bind, bind)  # noqa: S104


def accepts(settings: Settings) -> bool:
    """Whether the broker takes TCP connections; the last listener of a configuration is the last to be opened."""
    try:
        socket.create_connection(
            (reachable(settings.bind), settings.psk_port if settings.psk else settings.port), timeout=1
        ).close()
    except OSError:
        return False
    return True


def listed(settings: Settings) -> tuple[str, ...]:
    """The devices for an engine that needs a list: those of the settings, else all issued by the CA and not revoked."""
    from host_tools import revocation

    return revocation.listed(settings.ca.parent) if settings.devices is None else settings.devices


def taken_back(settings: Settings) -> frozenset[str]:
    """The names of what is on the list of revoked certificates, for an engine that knows clients by name alone.

    Raises: Failure for a certificate whose name is not known here: it could not be kept out.
    """
    from host_tools import revocation

    if not settings.mtls or settings.revoked is None:
        return frozenset()
    return revocation.names(settings.revoked, [settings.revoked.parent, settings.ca.parent])


def no_cluster(name: str) -> Failure:
    """What an engine says that runs on one machine alone."""
    return Failure(f"{name} has no cluster", "it runs on one machine alone", "--engine nats --cluster 3", Exit.USAGE)


def no_shared_keys(name: str) -> Failure:
    """What an engine says that knows no pre-shared keys."""
    because, fix = "it has no listener for them", "rootlet broker --engine mosquitto --psk DIR"
    return Failure(f"{name} has no pre-shared keys", because, fix, Exit.USAGE)
