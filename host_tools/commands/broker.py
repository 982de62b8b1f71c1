"""`rootlet broker`: a broker with the project's CA, for the desk and the LAN."""

import json
import signal
from pathlib import Path
from typing import Annotated, Any

import typer

from host_tools.failure import Failure
from host_tools.paths import BUILD


def _server_files(ca_dir: Path, name: str) -> tuple[Path, Path]:
    cert = ca_dir / "issued" / f"server-{name}.crt.pem"
    key = ca_dir / "issued" / f"server-{name}.key.pem"
    if not (ca_dir / "ca.crt.pem").is_file():
        raise Failure("there is no CA yet", f"no {ca_dir / 'ca.crt.pem'}", f"rootlet ca init --dir {ca_dir}")
    if not cert.is_file() or not key.is_file():
        fix = f"rootlet ca issue server {name} --ip 127.0.0.1 --dir {ca_dir}"
        raise Failure(f"there is no server certificate for {name}", f"no {cert}", fix)
    return cert, key


def _end(*_: Any) -> None:
    raise KeyboardInterrupt


def broker(
    ca_dir: Annotated[Path, typer.Option(help="Folder of `rootlet ca`.")] = Path("ca-data"),
    name: Annotated[str, typer.Option(help="The server certificate to use, by its first name.")] = "localhost",
    bind: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 lets the LAN in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8883,
    engine: Annotated[str, typer.Option(help="auto, mosquitto or amqtt.")] = "auto",
    no_mtls: Annotated[bool, typer.Option("--no-mtls", help="Do not ask clients for a certificate.")] = False,
    psk: Annotated[
        Path | None,
        typer.Option(help="Folder of `rootlet psk`: devices with a key of it may come to --psk-port. Mosquitto only."),
    ] = None,
    psk_port: Annotated[int, typer.Option(help="Port for devices with a key; 0: any.", min=0, max=65535)] = 8884,
    client_ca: Annotated[
        Path | None, typer.Option(help="CAs that devices may come from, PEM; by default that of --ca-dir.")
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
) -> None:
    """Run a broker with TLS from the project's CA until Ctrl-C; devices need a certificate of the same CA.

    With --psk, devices with a pre-shared key have a port of their own: no certificates and NO forward secrecy there,
    so for a private broker only. Who watches still comes with a certificate to --port.

    Example: rootlet broker --name broker.home --bind 0.0.0.0
    """
    from host_tools.broker import Broker
    from host_tools.certinfo import read_certificates

    cert, key = _server_files(ca_dir, name)
    if client_ca:
        read_certificates(client_ca)
    device: dict[str, Any] = {"host": name}
    if not no_mtls:
        device |= {"cert": "device.crt.der", "key": "device.key.der"}
    signal.signal(signal.SIGTERM, _end)
    with Broker(
        cert,
        key,
        client_ca or ca_dir / "ca.crt.pem",
        workdir=BUILD,
        mtls=not no_mtls,
        observers=observer or ["observer"],
        operators=operator or ["operator"],
        psk=psk,
        psk_port=psk_port,
        home_assistant=home_assistant,
        engine=engine,
        bind=bind,
        port=port,
    ) as running:
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
        if no_mtls:
            typer.echo("no client certificates: anybody who reaches the port may publish and read")
        try:
            code = running.wait()
        except KeyboardInterrupt:
            typer.echo("ended")
            return
        raise Failure("the broker ended by itself", f"exit code {code}", f"see {BUILD / 'broker' / 'log.txt'}")
