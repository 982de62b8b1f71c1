"""`rootlet send`: a command to a device, over MQTT."""

import json
from pathlib import Path
from typing import Annotated

import typer

from host_tools.failure import Exit, Failure


def send(
    *,
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="The device id.")],
    command: Annotated[str, typer.Argument(metavar="COMMAND", help="status, interval, rotate, update or reboot.")],
    arguments: Annotated[
        list[str] | None, typer.Argument(metavar="[KEY=VALUE]...", help="sensor=, every_s=, slot= or url=.")
    ] = None,
    broker: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="The broker, by a name in its certificate.")
    ] = None,
    project: Annotated[
        Path | None,
        typer.Option(
            "--project", help="Folder of a project: broker, CA and certificate are its own. Else this folder."
        ),
    ] = None,
    ca: Annotated[Path | None, typer.Option(help="PEM file of the CA.", exists=True, dir_okay=False)] = None,
    cert: Annotated[Path | None, typer.Option(help="The operator's certificate, PEM.", exists=True)] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, PEM.", exists=True)] = None,
    user: Annotated[str | None, typer.Option(help="User name.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="File with the password.", exists=True)] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", help="Its first line is the passphrase of the project's CA key.")
    ] = None,
    topic: Annotated[
        str | None, typer.Option(help="Pattern of the device's topics; rootlet/{device}/{sensor} by default.")
    ] = None,
    timeout: Annotated[float, typer.Option(help="Seconds to wait for the answer.", min=0.1, max=3600)] = 15,
    as_json: Annotated[bool, typer.Option("--json", help="The answer as one JSON object.")] = False,
) -> None:
    """Send a command to a device and print its answer. The device must allow it: mqtt.commands in its configuration.

    Example: rootlet send pico-1 interval sensor=chip every_s=5
    """
    from dataclasses import replace

    from host_tools import ports
    from host_tools import send as sending
    from host_tools.commands.ca import _authority
    from host_tools.commands.observer import host_port
    from host_tools.watch import OPERATOR, Place, of_project

    password = password_file.read_text().rstrip("\r\n") if password_file else None
    sending.message(command, arguments or [])  # a mistyped command is told before anything is opened
    if broker is None:
        found = ports.find_project(project)
        if found is None:
            because = f"no --broker is given, and there is no rootlet.toml in {project or 'this folder'} or above it"
            raise Failure("no broker to send to", because, f"rootlet send {device[:48]} {command} --broker HOST:PORT "
                          "--ca FILE", Exit.USAGE)  # fmt: skip
        place = of_project(
            found, lambda where: _authority(where, passphrase_file), lambda text: typer.echo(text, err=True), OPERATOR
        )
        pattern = str(found.device(device).config["mqtt"].get("topic", sending.TOPIC))
    elif ca is None:
        raise Failure("the CA is missing", "--ca is not given", f"--broker {broker[:80]} --ca FILE", Exit.USAGE)
    else:
        place, pattern = Place(*host_port(broker, f"rootlet send {device[:48]} {command} --broker"), ca), sending.TOPIC
    given = {"ca": ca, "cert": cert, "key": key, "user": user, "password": password, "topic": topic or pattern}
    place = replace(place, **{name: value for name, value in given.items() if value is not None})  # type: ignore[arg-type]
    answer = sending.send(place, device, command, arguments or [], timeout)
    if as_json:
        typer.echo(json.dumps(answer.data))
    if not answer.ok:
        if as_json:
            raise typer.Exit(Exit.FAILED)
        fix = f"rootlet explain {answer.code}" if answer.code.isidentifier() else "rootlet send --help"
        raise Failure(f"{device} did not execute {command}", f"{answer.code}: {answer.fact}", fix)
    if not as_json:
        later = command in ("reboot", "rotate", "update")
        typer.echo(f"{device}: {command} {'begun; its next status says how it went' if later else 'done'}")
        for line in answer.lines():
            typer.echo(f"  {line}")
