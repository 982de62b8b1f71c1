"""Several brokers that are one: started on this machine, or written as files for machines of their own."""

import contextlib
import ipaddress
import json
import secrets
import shutil
import sys
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from host_tools import certinfo
from host_tools.broker import Broker
from host_tools.ca import Authority
from host_tools.engines import table
from host_tools.engines.settings import Node, Settings, free_port, no_cluster
from host_tools.failure import Exit, Failure
from host_tools.safe_write import PRIVATE, File, make_directory, write_all

MOST = 7
CLUSTER_PORT = 6222
TARGET = "/etc/rootlet-broker"
_SOON = timedelta(days=30)


def _check_count(count: int) -> None:
    if count < 3 or count > MOST or count % 2 == 0:
        because = f"{count} machines: two of two must agree, so that the loss of one would stop both"
        if count > 2:
            because = f"{count} machines: an odd number, 3 to {MOST}, survives the loss of fewer than half"
        raise Failure("no such cluster", because, "--cluster 3", Exit.USAGE)


def _certificate(authority: Authority, name: str, address: str) -> tuple[Path, Path]:
    """The node's certificate and key; made where absent, for another address, or about to end."""
    folder = authority.directory / "issued"
    cert, key = folder / f"node-{name}.crt.pem", folder / f"node-{name}.key.pem"
    with contextlib.suppress(Failure, OSError):
        found = certinfo.read_certificates(cert)[0]
        facts = certinfo.describe(found)
        good = found.not_valid_after_utc - datetime.now(UTC) > _SOON and found.issuer == authority.cert.subject
        if good and key.exists() and address in [*facts["dns"], *facts["ips"]]:
            return cert.resolve(), key.resolve()
    try:
        names, ips = [name], [str(ipaddress.ip_address(address))]
    except ValueError:
        names, ips = [name, address] if address != name else [name], []
    made = authority.issue_node(names, ips, force=True)
    return made.cert_pem.resolve(), made.key_pem.resolve()


def local_nodes(authority: Authority, count: int, port: int = 0) -> tuple[Node, ...]:
    """Nodes on this machine: 127.0.0.1, 127.0.0.2 … at one port, or at free ports for port 0.

    On macOS, which has 127.0.0.1 alone, they are told apart by consecutive ports. Certificates are issued as needed.
    Raises: Failure.
    """
    _check_count(count)
    nodes = []
    for i in range(count):
        own = sys.platform != "darwin"
        address = f"127.0.0.{i + 1}" if own else "127.0.0.1"
        cert, key = _certificate(authority, f"local-{i + 1}", address)
        here = (port if own else port + i) if port else free_port(address)
        nodes.append(Node(f"local-{i + 1}", address, here, free_port(address), cert, key))
    return tuple(nodes)


class Cluster:
    """Running brokers that are one; entering waits until clients can connect to each, leaving ends all.

    Args:
        nodes: the machines, all here. ca: PEM file of the CA. workdir: each node has a folder of its name in it.
        engine: one that has clusters. options: as for Broker (devices, observers, home_assistant …).
    """

    def __init__(self, nodes: Sequence[Node], ca: Path, *, workdir: Path, engine: str = "nats", **options: Any) -> None:
        self.nodes = tuple(nodes)
        secret = secrets.token_hex(32)
        self.brokers = [
            Broker(
                node.cert,
                node.key,
                ca,
                workdir=workdir / node.name,
                engine=engine,
                node=node,
                nodes=self.nodes,
                secret=secret,
                **options,
            )
            for node in self.nodes
        ]

    def __enter__(self) -> Self:
        try:
            for broker in self.brokers:
                broker.__enter__()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def wait_ready(self) -> None:
        """Wait until clients can connect to each node. Raises Failure."""
        for node, broker in zip(self.nodes, self.brokers, strict=True):
            if not broker.wait_ready():
                last = (broker.log.strip().splitlines() or ["it ended without a word"])[-1]
                raise Failure(f"{node.name} of the cluster did not start", last[-200:], "see its log.txt")

    def kill(self, i: int) -> None:
        """End a node as a lost power supply does."""
        self.brokers[i].kill()

    def start(self, i: int) -> None:
        """Start a node again that was killed, and wait until clients can connect to it. Raises Failure."""
        self.brokers[i].restart()
        if not self.brokers[i].wait_ready():
            raise Failure(f"{self.nodes[i].name} did not come back", self.brokers[i].log[-200:], "see its log.txt")

    def wait(self) -> None:
        """Wait until a node ends by itself. Raises Failure then; a cluster goes on, but somebody must look."""
        while True:
            for node, broker in zip(self.nodes, self.brokers, strict=True):
                if (code := broker.ended()) is not None:
                    raise Failure(f"{node.name} ended by itself", f"exit code {code}", f"see {broker.log_file}")
            time.sleep(0.5)  # of several processes, whichever ends first

    def stop(self) -> None:
        """End all nodes in order."""
        for broker in self.brokers:
            broker.__exit__(None, None, None)

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.stop()


def mqtt_lines(nodes: Sequence[Node]) -> dict[str, str]:
    """What devices need to know of a cluster: "rootlet.toml" and "config.json", each a piece of that file."""
    first, rest = nodes[0], nodes[1:]
    others = ", ".join(f'{{ host = "{node.address}", port = {node.port} }}' for node in rest)
    one = f'[[brokers]]\nname = "home"\nhost = "{first.address}"\nport = {first.port}\nauth = "mtls"'
    toml = f"{one}\n\n[mqtt]\nbrokers = [{others}]"
    mqtt = {
        "host": first.address,
        "port": first.port,
        "cert": "device.crt.der",
        "key": "device.key.der",
        "brokers": [{"host": node.address, "port": node.port} for node in rest],
    }
    return {"rootlet.toml": toml, "config.json": f'"mqtt": {json.dumps(mqtt)}'}


_UNIT = """[Unit]
Description=Rootlet broker ({engine}), {name}
Wants=network-online.target
After=network-online.target

[Service]
User=rootlet-broker
WorkingDirectory={target}
{environment}ExecStart={command}
{after}Restart=always
RestartSec=2
LimitNOFILE=1048576
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
ReadWritePaths={target}
UMask=0077

[Install]
WantedBy=multi-user.target
"""


def write(
    authority: Authority, hosts: Sequence[str], directory: Path, *, engine: str, port: int = 8883, **options: Any
) -> list[tuple[Node, list[Path]]]:
    """Write what each machine of a cluster needs into a folder of its name: configuration, keys, a systemd unit.

    Args:
        hosts: names or addresses, by which devices and the other machines reach them. directory: is made.
        engine: one that has clusters; it need not be installed here. options: fields of Settings.
    Returns: each node and its files. Raises Failure.
    """
    _check_count(len(hosts))
    if len(set(hosts)) != len(hosts):
        raise Failure("no such cluster", "a host is named twice", "--hosts a,b,c", Exit.USAGE)
    found = table.engine(engine)
    if not found.CLUSTER:
        raise no_cluster(engine)
    secret = secrets.token_hex(32)
    nodes = []
    for i, host in enumerate(hosts):
        cert, key = _certificate(authority, f"host-{i + 1}", host)
        nodes.append(Node(f"host-{i + 1}", host, port, CLUSTER_PORT, cert, key))
    written = []
    for node in nodes:
        folder = (directory / node.address.replace(":", "-")).resolve()
        make_directory(folder)
        copies = {"node.crt.pem": node.cert, "node.key.pem": node.key, "ca.crt.pem": authority.cert_pem}
        write_all(
            [File(folder / name, source.read_bytes(), PRIVATE) for name, source in copies.items()],
            force=True,
            keep_backup=False,
        )
        placed = Node(
            node.name, node.address, node.port, node.cluster_port, folder / "node.crt.pem", folder / "node.key.pem"
        )
        settings = Settings(
            cert=placed.cert,
            key=placed.key,
            ca=folder / "ca.crt.pem",
            bind="0.0.0.0",  # noqa: S104  (a host name may stand for loopback on the machine itself)
            port=port,
            directory=folder,
            node=placed,
            nodes=tuple(nodes),
            secret=secret,
            **options,
        )
        found.refuse(settings)
        start = found.configure(settings)
        environment = "".join(f'Environment="{name}={value}"\n' for name, value in start.env.items())
        program = shutil.which(start.command[0]) or f"/usr/sbin/{found.NAME}"
        command = " ".join([program, *start.command[1:]])
        after = f"ExecStartPost={' '.join(start.after)}\n" if start.after else ""
        unit = _UNIT.format(
            engine=engine, name=node.name, target=TARGET, environment=environment, command=command, after=after
        )
        texts = {path: path.read_text() for path in start.files} | {folder / "rootlet-broker.service": unit}
        # Written for this folder, meant for that one.
        files = [File(path, text.replace(str(folder), TARGET).encode(), PRIVATE) for path, text in texts.items()]
        write_all(files, force=True, keep_backup=False)
        written.append((node, [*(folder / name for name in copies), *texts]))
    return written


def to_type(node: Node, folder: Path) -> list[str]:
    """The commands that bring the written files to a machine and start its broker."""
    return [
        f"rsync -a {folder}/ root@{node.address}:{TARGET}/",
        f"ssh root@{node.address} 'id rootlet-broker || useradd --system rootlet-broker; "
        f"chown -R rootlet-broker: {TARGET}; mv {TARGET}/rootlet-broker.service /etc/systemd/system/; "
        "systemctl daemon-reload; systemctl enable --now rootlet-broker'",
    ]
