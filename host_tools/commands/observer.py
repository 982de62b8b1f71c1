"""What `rootlet watch` and `rootlet dashboard` are told alike: the broker, and who looks at it."""

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from host_tools.failure import Exit, Failure

if TYPE_CHECKING:
    from host_tools.watch import Place

BrokerPlace = Annotated[
    str | None, typer.Argument(metavar="[HOST:PORT]", help="The broker, by a name in its certificate.")
]
Project = Annotated[
    Path | None,
    typer.Option("--project", help="Folder of a project: broker, CA and certificate are its own. Else this folder."),
]
CaFile = Annotated[Path | None, typer.Option("--ca", help="PEM file of the CA.", exists=True, dir_okay=False)]
Cert = Annotated[Path | None, typer.Option("--cert", help="Own certificate, PEM (mutual TLS).", exists=True)]
Key = Annotated[Path | None, typer.Option("--key", help="Its private key, PEM.", exists=True)]
User = Annotated[str | None, typer.Option("--user", help="User name.")]
PasswordFile = Annotated[Path | None, typer.Option("--password-file", help="File with the password.", exists=True)]
PassphraseFile = Annotated[
    Path | None, typer.Option("--passphrase-file", help="Its first line is the passphrase of the project's CA key.")
]
Topic = Annotated[str | None, typer.Option("--topic", help="Topic filter; rootlet/# by default.")]


def host_port(text: str, command: str) -> tuple[str, int]:
    """HOST:PORT in its two parts. command: for the words of the Failure that it raises."""
    host, _, port = text.rpartition(":")
    if not host or not port.isdigit() or not 0 < int(port) < 65536:
        fix = f"{command} localhost:8883 --ca …"
        raise Failure("that is no broker", f"{text!r} is not HOST:PORT", fix, Exit.USAGE)
    return host, int(port)


def place_of(
    command: str,
    broker: str | None,
    project: Any,
    folder: Path | None,
    passphrase_file: Path | None,
    ca: Path | None,
    password_file: Path | None,
    **given: Any,
) -> "Place":
    """The broker to look at, and how.

    Args: command: for the words of a failure. project: that was found, or None. folder: where it was looked for.
        given: cert, key, user and topic, each None where it was not given.
    Raises: Failure.
    """
    from host_tools.watch import Place

    if broker is None:
        place = _of_project(command, project, folder, passphrase_file)
    elif ca is None:
        raise Failure("the CA is missing", "--ca is not given", f"{command} {broker} --ca FILE", Exit.USAGE)
    else:
        place = Place(*host_port(broker, command), ca)
    given |= {"ca": ca, "password": password_file.read_text().rstrip("\r\n") if password_file else None}
    return replace(place, **{name: value for name, value in given.items() if value is not None})


def _of_project(command: str, found: Any, folder: Path | None, passphrase_file: Path | None) -> "Place":
    from host_tools.commands.ca import _authority
    from host_tools.watch import of_project

    if found is None:
        because = f"no HOST:PORT is given, and there is no rootlet.toml in {folder or 'this folder'} or above it"
        raise Failure("no broker to watch", because, f"{command} HOST:PORT --ca FILE", Exit.USAGE)
    return of_project(found, lambda where: _authority(where, passphrase_file), lambda text: typer.echo(text, err=True))
