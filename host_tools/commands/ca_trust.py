"""`rootlet ca trust`: make browsers trust the project's CA, undo it, or show how."""

from pathlib import Path
from typing import Annotated

import typer

from host_tools.failure import Exit, Failure


def trust(
    *,
    directory: Annotated[Path, typer.Option("--dir", help="The CA's directory.")] = Path("ca-data"),
    ca_file: Annotated[
        Path | None, typer.Option("--ca", help="The CA's certificate alone, where the directory is elsewhere.")
    ] = None,
    install: Annotated[bool, typer.Option("--install", help="Do it, for the browsers of this user.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Undo it.")] = False,
    nss: Annotated[
        list[Path] | None, typer.Option("--nss", help="An NSS database, made when absent; repeatable. Only these.")
    ] = None,
    system: Annotated[bool, typer.Option("--system", help="The system's store too (root; all programs).")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
) -> None:
    """Show how browsers and systems come to trust the CA, and which do; with --install do it, with --remove undo it.

    Only the CA's certificate is read, never its key. Trust is given for servers only. A browser that is open may
    have to be started again.

    Example: rootlet ca trust --install
    """
    from host_tools import certinfo
    from host_tools import trust as trusting

    if install and remove:
        raise Failure("--install and --remove", "they are opposites", "give one of the two", Exit.USAGE)
    file = ca_file or directory / "ca.crt.pem"
    if ca_file is None and not file.exists():
        because = f"there is no {file}"
        raise Failure("there is no CA to trust", because, "rootlet ca init, or --ca FILE", Exit.USAGE)
    cert = trusting.certificate(file)
    where = trusting.places(nss or [], system=system)
    name = certinfo.printable(cert.subject.rfc4514_string())
    if remove:
        if where:
            trusting.consent(f"Remove {name} from {len(where)} place(s)", yes=yes)
        trusting.remove(where, cert, typer.echo)
        return
    typer.echo(certinfo.text(certinfo.describe(cert)))
    typer.echo(trusting.meaning(cert))
    if install:
        if where:
            for place in where:
                typer.echo(f"to change    {place.title}")
            trusting.consent(f"Trust {name} in {len(where)} place(s)", yes=yes)
        trusting.install(where, cert, typer.echo)
        return
    typer.echo("\n".join(["on this machine", *(f"  {line}" for line in trusting.state(where, cert))]))
    if not where:
        typer.echo("  no database of Chromium or Firefox was found for this user")
    typer.echo(trusting.by_hand(cert, file))
