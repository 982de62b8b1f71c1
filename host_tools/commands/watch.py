"""`rootlet watch`: shows what arrives at a broker."""

import json
from pathlib import Path
from typing import Annotated

import typer

from host_tools.failure import Exit, Failure


def _place(text: str) -> tuple[str, int]:
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        raise Failure(
            "that is no broker", f"{text!r} is not HOST:PORT", "rootlet watch localhost:8883 --ca …", Exit.USAGE
        )
    return host, int(port)


def watch(
    broker: Annotated[str, typer.Argument(metavar="HOST:PORT", help="The broker, by a name in its certificate.")],
    ca: Annotated[Path, typer.Option(help="PEM file of the CA.", exists=True, dir_okay=False)],
    cert: Annotated[Path | None, typer.Option(help="Own certificate, PEM (mutual TLS).", exists=True)] = None,
    key: Annotated[Path | None, typer.Option(help="Its private key, PEM.", exists=True)] = None,
    user: Annotated[str | None, typer.Option(help="User name.")] = None,
    password_file: Annotated[Path | None, typer.Option(help="File with the password.", exists=True)] = None,
    topic: Annotated[str, typer.Option(help="Topic filter.")] = "rootlet/#",
    count: Annotated[int, typer.Option(help="End after this many messages; 0: never.", min=0)] = 0,
    timeout: Annotated[
        float, typer.Option(help="End with an error after this many silent seconds; 0: never.", min=0)
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show what arrives at a broker; its certificate is always verified.

    Example: rootlet watch localhost:8883 --ca ca-data/ca.crt.pem --cert observer.crt.pem --key observer.key.pem
    """
    from host_tools.watch import Watcher

    host, port = _place(broker)
    password = password_file.read_text().rstrip("\r\n") if password_file else None
    seen = 0
    with Watcher(host, port, ca, cert, key, user=user, password=password, topic=topic) as watcher:
        while not count or seen < count:
            try:
                where, payload = watcher.next(timeout or None)
            except TimeoutError:
                raise Failure(
                    "nothing arrived", f"{timeout:g} s of silence", "check the board: mpremote repl"
                ) from None
            seen += 1
            text = payload.decode(errors="replace")
            # Control characters in a payload must not drive the terminal.
            shown = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
            typer.echo(json.dumps({"topic": where, "payload": text}) if as_json else f"{where}  {shown}")
