"""The Erlang side of RabbitMQ: node names, the cookie, who joins, and TLS between the nodes of a cluster.

Sources: https://www.rabbitmq.com/docs/clustering, /docs/cluster-formation, /docs/networking, /docs/clustering-ssl.
"""

import contextlib
import ipaddress
import re
import secrets
import zlib
from dataclasses import dataclass, field
from pathlib import Path

from host_tools.engines.settings import Node, Settings, private
from host_tools.failure import Exit, Failure

_EPMD_PORT = 4369
_PLAIN = re.compile(r"[A-Za-z0-9._+/-]+")
_LOCAL_EPMD = range(20000, 32000)  # below the ports that the kernel gives away


@dataclass(frozen=True)
class Names:
    """How a node is called and found: the environment of its start, and the files that it needs.

    here: everything is bound to loopback on this machine, and so is the port mapper, which is ours.
    """

    epmd_port: int
    env: dict[str, str]
    here: bool
    files: list[Path] = field(default_factory=list)


def erlang(text: str) -> str:
    r"""A text as an Erlang string; whatever is not plain ASCII goes as \x{…}."""
    plain = (c if " " <= c <= "~" and c not in '"\\' else f"\\x{{{ord(c):x}}}" for c in text)
    return f'"{"".join(plain)}"'


def _ip(address: str) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(address)
    return None


def _host(node: Node) -> str:
    """The host in its name: Erlang compares it with the names of the certificate, but never with addresses there."""
    return node.name if _ip(node.address) else node.address


def _hosts_file(nodes: tuple[Node, ...]) -> str:
    """Erlang's own table of hosts, for nodes that are known by address (https://www.erlang.org/doc/apps/erts/inet_cfg.html)."""
    lines = [
        f"{{host, {{{node.address.replace('.', ',')}}}, [{erlang(node.name)}]}}.\n"
        for node in nodes
        if _ip(node.address)
    ]
    return "".join(lines) + "{lookup, [file, native]}.\n"


def refuse(settings: Settings) -> None:
    """Raise Failure for nodes that Erlang could not call by name."""
    because = ""
    if any(":" in node.address for node in settings.nodes):
        because = "Erlang has no node names with IPv6 addresses"
    elif len({"." in _host(node) for node in settings.nodes}) > 1:
        because = "some hosts have a domain and some have none; Erlang takes either"
    elif settings.nodes and not _PLAIN.fullmatch(str(settings.directory)):
        because = f"{settings.directory} has more than letters, digits and . _ + - / in it, which Erlang's options take"
    if because:
        raise Failure("RabbitMQ cannot make that cluster", because, "other hosts or another folder", Exit.USAGE)


def cookie(settings: Settings) -> Path:
    """The secret that nodes show each other; of a node alone, one that is there is kept."""
    path = settings.directory / ".erlang.cookie"
    if settings.node or not path.exists():
        return private(settings, path.name, settings.secret or secrets.token_hex(32))
    path.chmod(0o600)
    return path


def node_name(node: Node) -> str:
    """What Erlang calls it."""
    return f"{node.name}@{_host(node)}"


def names(settings: Settings) -> Names:
    """A node alone is bound to loopback, at ports found free; a node of a cluster to its address."""
    from host_tools.engines.settings import free_port

    node = settings.node
    if node is None:
        env = _env("rootlet@127.0.0.1", free_port("127.0.0.1"), "127.0.0.1")
        epmd_port = free_port("127.0.0.1")
        return Names(epmd_port, env | {"ERL_EPMD_PORT": str(epmd_port), "ERL_EPMD_ADDRESS": "127.0.0.1"}, here=True)
    addresses = [_ip(other.address) for other in settings.nodes]
    here = all(address and address.is_loopback for address in addresses)
    epmd_port = _EPMD_PORT
    if here:  # one port mapper for all, and for no other cluster
        told = " ".join(f"{node_name(other)}:{other.cluster_port}" for other in settings.nodes)
        epmd_port = _LOCAL_EPMD[zlib.crc32(told.encode()) % len(_LOCAL_EPMD)]
    options = private(settings, "inter-node-tls.config", _between(settings, node))
    tls = f"-proto_dist inet_tls -ssl_dist_optfile {options}"
    hosts = private(settings, "hosts.config", _hosts_file(settings.nodes))
    env = _env(node_name(node), node.cluster_port, node.address if _ip(node.address) else None, tls)
    env["ERL_INETRC"] = str(hosts)
    env["ERL_EPMD_PORT"] = str(epmd_port)
    if here:
        env["ERL_EPMD_ADDRESS"] = ",".join(other.address for other in settings.nodes)
    elif _ip(node.address):
        env["ERL_EPMD_ADDRESS"] = node.address
    return Names(epmd_port, env, here, [options, hosts])


def _env(name: str, port: int, bind: str | None, more: str = "") -> dict[str, str]:
    arguments = [more] if more else []
    if bind:
        arguments.append(f"-kernel inet_dist_use_interface {{{bind.replace('.', ',')}}}")
    return {
        "RABBITMQ_USE_LONGNAME": "true" if "." in name else "false",
        "RABBITMQ_NODENAME": name,
        "RABBITMQ_DIST_PORT": str(port),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": " ".join(arguments),
    }


def _between(settings: Settings, node: Node) -> str:
    """Options of TLS between nodes: both ends show a certificate of the CA, and the cookie says who is a node.

    The certificate must name the host of the node's name, too.
    """
    common = [
        f"{{cacertfile, {erlang(str(settings.ca))}}}",
        f"{{certfile, {erlang(str(node.cert))}}}",
        f"{{keyfile, {erlang(str(node.key))}}}",
        "{verify, verify_peer}",
        "{depth, 3}",
        "{versions, ['tlsv1.3', 'tlsv1.2']}",
    ]
    server = ", ".join([*common, "{fail_if_no_peer_cert, true}"])
    return f"[{{server, [{server}]}},\n {{client, [{', '.join(common)}]}}].\n"


def formation(settings: Settings) -> list[str]:
    """The lines of rabbitmq.conf that name the nodes of a cluster."""
    if not settings.nodes:
        return []
    return [
        "cluster_formation.peer_discovery_backend = classic_config",
        *(f"cluster_formation.classic_config.nodes.{i} = {node_name(n)}" for i, n in enumerate(settings.nodes, 1)),
        f"cluster_formation.target_cluster_size_hint = {len(settings.nodes)}",
        # Fewer than half stop serving, so that there are never two clusters that both say yes.
        "cluster_partition_handling = pause_minority",
    ]


def joined(settings: Settings) -> bool:
    """Whether this node knows all the others: one that found nobody would serve alone."""
    if settings.node is None:
        return True
    own = node_name(settings.node)
    try:
        known = (settings.directory / "data" / own / "cluster_nodes.config").read_text()
    except (OSError, ValueError):
        return False
    return all(f"'{node_name(node)}'" in known for node in settings.nodes)
