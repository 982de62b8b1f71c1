"""`rootlet certs`: turn CA certificates into the cert module a board imports."""

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(help="Cert modules for boards: `rootlet certs embed`.", no_args_is_help=True)


@app.callback()
def certs() -> None:
    """Cert modules for boards: `rootlet certs embed`."""


@app.command()
def rotate(
    *,
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="The board's device id.")],
    port: Annotated[
        str | None, typer.Option(help="Serial port; found by itself where one board is plugged in.")
    ] = None,
    directory: Annotated[Path, typer.Option("--dir", help="The CA's directory.")] = Path("ca-data"),
    days: Annotated[int | None, typer.Option("--days", help="Life of the new certificate, in days.")] = None,
    trust: Annotated[Path | None, typer.Option(help="New cert module of `rootlet certs embed`.")] = None,
    roots: Annotated[Path | None, typer.Option(help="New root store file.")] = None,
    pins: Annotated[
        list[str] | None, typer.Option("--pins", help="New pin of the broker, sha256//BASE64; repeat it, or `none`.")
    ] = None,
    keep_identity: Annotated[bool, typer.Option("--keep-identity", help="No new key and certificate.")] = False,
    wait_s: Annotated[float, typer.Option("--wait", help="Seconds for the board to connect after the restart.")] = 120,
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", help="Its first line is the passphrase of the CA key.")
    ] = None,
) -> None:
    """Renew a board's key and certificate, and its roots and pins, with a trial before the switch.

    May be repeated after any interruption; a board that cannot connect with the new files keeps the old ones.

    Example: rootlet certs rotate pico-1 --days 90
    """
    from host_tools import deploy, rotate
    from host_tools.commands.ca import _authority

    if trust is not None and trust.with_suffix(".mpy").is_file():
        trust = trust.with_suffix(".mpy")
    request = rotate.Request(
        device, directory, not keep_identity, trust, roots,
        None if pins is None else () if pins == ["none"] else tuple(pins), days, wait_s=wait_s,
    )  # fmt: skip
    rotate.run(port or deploy.find_port(), request, lambda: _authority(directory, passphrase_file), typer.echo)
    typer.echo("done: the board uses the new files")


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
