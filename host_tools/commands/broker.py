"""`rootlet broker`: a broker with the project's CA, for the desk and the LAN; also three of them, or a check of one."""

import json
import signal
import socket
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from host_tools.failure import Exit, Failure

if TYPE_CHECKING:
    from host_tools.ca import Authority


def _server_files(ca_dir: Path, name: str) -> tuple[Path, Path]:
    cert = ca_dir / "issued" / f"server-{name}.crt.pem"
    key = ca_dir / "issued" / f"server-{name}.key.pem"
    if not (ca_dir / "ca.crt.pem").is_file():
        raise Failure("there is no CA yet", f"no {ca_dir / 'ca.crt.pem'}", f"rootlet ca init --dir {ca_dir}")
    if not cert.is_file() or not key.is_file():
        fix = f"rootlet ca issue server {name} --ip 127.0.0.1 --dir {ca_dir}"
        raise Failure(f"there is no server certificate for {name}", f"no {cert}", fix)
    return cert, key


def _revoked(ca_dir: Path, client_ca: Path | None, crl: Path | None) -> Path | None:
    """The list of revoked certificates to use, looked through. Raises Failure where it cannot be used."""
    from host_tools import revocation

    if crl:
        revocation.lists(crl)
        return crl
    found = revocation.existing(ca_dir)
    if found and client_ca:
        # A list counts for the CA that signed it, and where one is given there must be one for each CA of the clients.
        typer.echo(f"with --client-ca no list of revoked certificates is used: add --crl {found}", err=True)
        return None
    revocation.entries(ca_dir)
    return found


def _build(folder: Path | None) -> Path:
    """Where the broker's own folder is made: as told, else in the project, else here. Never in Rootlet's own folder."""
    from host_tools import project

    return folder or (project.find() or Path.cwd()) / "build"


def _end(*_: Any) -> None:
    raise KeyboardInterrupt


def broker(
    place: Annotated[
        str | None, typer.Argument(metavar="[HOST:PORT]", help="With --check: a broker that runs there.")
    ] = None,
    ca_dir: Annotated[Path, typer.Option(help="Folder of `rootlet ca`.")] = Path("ca-data"),
    name: Annotated[str, typer.Option(help="The server certificate to use, by its first name.")] = "localhost",
    bind: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets the LAN in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8883,
    engine: Annotated[
        str, typer.Option(help="auto, mosquitto, amqtt, nats, rabbitmq or emqx, where installed; docs/brokers.md.")
    ] = "auto",
    no_mtls: Annotated[bool, typer.Option("--no-mtls", help="Do not ask clients for a certificate.")] = False,
    psk: Annotated[
        Path | None,
        typer.Option(help="Folder of `rootlet psk`: devices with a key of it may come to --psk-port. Mosquitto only."),
    ] = None,
    psk_port: Annotated[int, typer.Option(help="Port for devices with a key; 0: any.", min=0, max=65535)] = 8884,
    client_ca: Annotated[
        Path | None, typer.Option(help="CAs that devices may come from, PEM; by default that of --ca-dir.")
    ] = None,
    devices: Annotated[
        bool, typer.Option("--devices", help="Only devices that --ca-dir has issued and not revoked may do anything.")
    ] = False,
    crl: Annotated[
        Path | None, typer.Option(help="List of revoked certificates, PEM; by default that of --ca-dir.")
    ] = None,
    observer: Annotated[list[str] | None, typer.Option(help="Identity that may read everything.")] = None,
    operator: Annotated[list[str] | None, typer.Option(help="Identity that may also send commands.")] = None,
    home_assistant: Annotated[
        str | None,
        typer.Option(
            metavar="PREFIX",
            help="Each device may write PREFIX/sensor/DEVICE/+/config, and observers read it.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Ask the broker for each of its promises and end: 0 kept, 4 broken.")
    ] = False,
    cluster: Annotated[int, typer.Option(help="So many brokers that are one, on this machine; nats.")] = 0,
    write: Annotated[
        Path | None, typer.Option(help="Only write the files of a cluster for the machines of --hosts.")
    ] = None,
    hosts: Annotated[str, typer.Option(help="Names or addresses of the machines of a cluster, a,b,c.")] = "",
    folder: Annotated[
        Path | None,
        typer.Option(help="Its configuration, log and messages go below; by default build/ of the project, or here."),
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", help="Passphrase of the CA key, for --check and --cluster.")
    ] = None,
) -> None:
    """Run a broker with TLS from the project's CA until Ctrl-C; devices need a certificate of the same CA.

    With --psk, devices with a pre-shared key have a port of their own: no certificates and NO forward secrecy there,
    so for a private broker only. Who watches still comes with a certificate to --port.

    Example: rootlet broker --name broker.home --bind 0.0.0.0
    """
    from host_tools import revocation
    from host_tools.broker import Broker
    from host_tools.certinfo import read_certificates

    if client_ca:
        read_certificates(client_ca)
    if place and not check:
        raise Failure("nothing to do there", f"{place} was given without --check", f"rootlet broker {place} --check",
                      Exit.USAGE)  # fmt: skip
    if place:
        _check_elsewhere(place, ca_dir, passphrase_file, observer, devices=devices)
        return
    revoked = _revoked(ca_dir, client_ca, crl)
    options: dict[str, Any] = {
        "observers": observer or ["observer"],
        "operators": operator or ["operator"],
        "devices": revocation.listed(ca_dir) if devices else None,
        "revoked": revoked,
        "home_assistant": home_assistant,
    }
    signal.signal(signal.SIGTERM, _end)
    build = _build(folder)
    if cluster or write:
        _cluster(
            build, ca_dir, passphrase_file, "nats" if engine == "auto" else engine, cluster, port, write, hosts, options
        )
        return
    cert, key = _server_files(ca_dir, name)
    common: dict[str, Any] = {"engine": engine, "bind": bind, "port": port, "psk": psk, "psk_port": psk_port}
    common |= {"mtls": not no_mtls, "workdir": build}
    if check:
        _check_own(cert, key, client_ca or ca_dir / "ca.crt.pem", name, _authority(ca_dir, passphrase_file), common,
                   options)  # fmt: skip
        return
    device: dict[str, Any] = {"host": name}
    if not no_mtls:
        device |= {"cert": "device.crt.der", "key": "device.key.der"}
    with Broker(cert, key, client_ca or ca_dir / "ca.crt.pem", **common, **options) as running:
        device["port"] = running.port
        typer.echo(f"{running.engine} on {bind}:{running.port}; Ctrl-C ends it")
        typer.echo(f'in a device\'s config.json: "mqtt": {json.dumps(device)}')
        if psk:
            shared = {"host": name, "port": running.psk_port, "psk": "device.psk"}
            typer.echo(f'with a pre-shared key: "mqtt": {json.dumps(shared)}')
            typer.echo("pre-shared keys have no forward secrecy and name nobody by certificate: private brokers only")
        typer.echo(
            "the host must be one the board can reach and the certificate has: a name it resolves, or an address"
        )
        if revoked:
            typer.echo(f"revoked: {len(revocation.serials(revoked))} certificates of {revoked}")
        _limits(running.engine)
        if no_mtls:
            typer.echo("no client certificates: anybody who reaches the port may publish and read")
        try:
            code = running.wait()
        except KeyboardInterrupt:
            typer.echo("ended")
            return
        raise Failure("the broker ended by itself", f"exit code {code}", f"see {running.log_file}")


def _authority(ca_dir: Path, passphrase_file: Path | None) -> "Authority":
    from host_tools.commands.ca import _authority as unlock

    return unlock(ca_dir, passphrase_file)


def _limits(engine: str) -> None:
    from host_tools import limits
    from host_tools.engines import table

    found = table.engine(engine)
    for line in limits.told(found.LIMITS, found.MOST):
        typer.echo(line)


def _check_own(
    cert: Path, key: Path, ca: Path, name: str, authority: "Authority", common: dict[str, Any], options: dict[str, Any]
) -> None:
    """Start the broker as it would run, with the probe's names beside the others, and ask it."""
    from host_tools import broker_probe as probe
    from host_tools.broker import Broker
    from host_tools.engines import table
    from host_tools.revocation import listed

    with probe.papers(authority) as issued:
        revoked = issued.issue(probe.REVOKED)
        strict = options["devices"] is not None or table.choose(common["engine"]).NAME not in table.UNLISTED
        options["observers"] = [*options["observers"], probe.OBSERVER]
        if strict:
            # The revoked one by name, too: what keeps it out must be that it was taken back.
            options["devices"] = [*(options["devices"] or listed(authority.directory)), probe.DEVICE, probe.REVOKED]
        options["revoked"] = issued.revoke(probe.REVOKED)
        with Broker(cert, key, ca, **common, **options) as running:
            asked = probe.Probe(
                _name_here(cert, name, common["bind"]), running.port, authority.cert_pem, issued, revoked=revoked
            )
            asked.unlisted = probe.UNLISTED if strict else None
            typer.echo(f"{running.engine} on {common['bind']}:{running.port}")
            _tell(asked)
            _limits(running.engine)


def _name_here(cert: Path, name: str, bind: str) -> str:
    """A name of the certificate by which this machine reaches its own broker."""
    from host_tools import certinfo
    from host_tools.engines.settings import reachable

    facts = certinfo.describe(certinfo.read_certificates(cert)[0])
    address = reachable(bind)
    if address in facts["ips"]:
        return address
    return "localhost" if address.startswith("127.") and "localhost" in facts["dns"] else name


def _check_elsewhere(
    place: str, ca_dir: Path, passphrase_file: Path | None, observer: list[str] | None, *, devices: bool
) -> None:
    """Ask a broker that runs, in the name of the first listed device: its topic `probe` gets two messages."""
    from host_tools import broker_probe as probe
    from host_tools.revocation import listed

    host, colon, number = place.rpartition(":")
    host, number = (host, number) if colon else (place, "8883")
    if not number.isdecimal() or not 0 < int(number) < 65536:
        raise Failure(
            "no such broker", f"{place[:80]} is not HOST:PORT", "rootlet broker HOST:8883 --check", Exit.USAGE
        )
    names = [known for known in listed(ca_dir) if known not in ("observer", "operator")]
    if not names:
        raise Failure("no device to ask as", f"{ca_dir} has issued none", "rootlet ca issue device pico-1", Exit.USAGE)
    try:
        socket.create_connection((host.strip("[]"), int(number)), timeout=10).close()
    except OSError as e:
        raise Failure(f"no connection to {host}:{number}", str(e), "start it: rootlet broker") from None
    with probe.papers(_authority(ca_dir, passphrase_file)) as issued:
        typer.echo(f"{host}:{number}, as {names[0]} and {(observer or ['observer'])[0]}")
        asked = probe.Probe(host.strip("[]"), int(number), ca_dir / "ca.crt.pem", issued)
        asked.device, asked.observer = names[0], (observer or ["observer"])[0]
        asked.unlisted = probe.UNLISTED if devices else None
        _tell(asked)


def _tell(asked: Any) -> None:
    broken = 0
    for line in asked.run():
        typer.echo(str(line))
        broken += line.kept is False
    if broken:
        because = f"{broken} of the lines above say BROKEN"
        raise Failure("the broker does not keep its promises", because, "see docs/brokers.md", Exit.UNVERIFIED)


def _cluster(
    build: Path,
    ca_dir: Path,
    passphrase_file: Path | None,
    engine: str,
    count: int,
    port: int,
    write: Path | None,
    hosts: str,
    options: dict[str, Any],
) -> None:
    from host_tools import cluster
    from host_tools.engines.settings import Settings
    from host_tools.revocation import listed

    authority = _authority(ca_dir, passphrase_file)
    if options["devices"] is None:
        options["devices"] = listed(ca_dir)
    if write:
        wanted = [host.strip() for host in hosts.split(",") if host.strip()]
        fields = {k: tuple(v) if isinstance(v, list) else v for k, v in options.items() if k in _fields(Settings)}
        written = cluster.write(authority, wanted, write, engine=engine, port=port, **fields)
        for node, files in written:
            typer.echo(f"{node.address}: {len(files)} files in {files[0].parent} (with a private key: keep them so)")
        for node, files in written:
            for line in cluster.to_type(node, files[0].parent):
                typer.echo(f"  {line}")
        _lines([node for node, _ in written])
        return
    nodes = cluster.local_nodes(authority, count, port)
    with cluster.Cluster(nodes, authority.cert_pem, workdir=build / "cluster", engine=engine, **options) as running:
        typer.echo(f"{engine}, {count} brokers, all ready; Ctrl-C ends them")
        for node in nodes:
            typer.echo(f"  {node.name} on {node.address}:{node.port}")
        typer.echo(f"devices let in: {len(options['devices'])} of {ca_dir}; start again after issuing more")
        _lines(nodes)
        _limits(engine)
        try:
            running.wait()
        except KeyboardInterrupt:
            typer.echo("ended")


def _fields(kind: Any) -> set[str]:
    import dataclasses

    return {field.name for field in dataclasses.fields(kind)}


def _lines(nodes: Any) -> None:
    from host_tools import cluster

    for file, text in cluster.mqtt_lines(nodes).items():
        typer.echo(f"in {file}:\n{text}")
