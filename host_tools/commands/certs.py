"""`rootlet certs`: turn CA certificates into the cert module a board imports; print pins."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Cert modules and pins for boards: `rootlet certs embed`, `rootlet certs pin`.", no_args_is_help=True
)


@app.callback()
def certs() -> None:
    """Cert modules and pins for boards: `rootlet certs embed`, `rootlet certs pin`."""


@app.command()
def embed(
    ca_files: Annotated[list[Path], typer.Argument(metavar="CA_FILE...", help="PEM files or bundles, DER files.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The module to write; .mpy goes beside it.")],
    build_time: Annotated[
        int | None,
        typer.Option(
            "--build-time",
            help="Unix seconds, the board's clock floor. Else SOURCE_DATE_EPOCH, else the last midnight UTC.",
        ),
    ] = None,
) -> None:
    """Write a cert module, compiled too; refuses what a board could not use as a root.

    Example: rootlet certs embed ca-data/ca.crt.pem -o build/trust_roots.py
    """
    from datetime import UTC, datetime

    from host_tools import certinfo, certs

    made = certs.embed(ca_files, out, build_time)
    for root in made.roots:
        end = datetime.fromtimestamp(root.not_after, UTC)
        typer.echo(certinfo.printable(root.subject))
        typer.echo(f"  until {end:%Y-%m-%d}  {len(root.der)} bytes DER  sha256 {root.sha256}")
    total = sum(len(root.der) for root in made.roots)
    typer.echo(f"roots        {len(made.roots)}, {total} bytes DER")
    typer.echo(f"clock floor  {datetime.fromtimestamp(made.build_time, UTC):%Y-%m-%dT%H:%M:%SZ}")
    typer.echo(f"file         {made.module}")
    typer.echo(f"file         {made.compiled} ({made.compiled.stat().st_size} bytes on the board)")


@app.command()
def pin(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="PEM files or bundles, DER files.")],
) -> None:
    """Print the pin of each certificate's key, for mqtt.pins and https.pins (curl takes it too: --pinnedpubkey).

    Example: rootlet certs pin ca-data/ca.crt.pem
    """
    from host_tools import pins

    for path in files:
        for found in pins.of_file(path):
            typer.echo(f"{found.pin}  {found.key}  {found.subject or '(no name)'}")
