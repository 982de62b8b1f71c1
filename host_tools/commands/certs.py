"""`rootlet certs`: what a board verifies by, its renewal, and an audit of certificates."""

from pathlib import Path
from typing import Annotated

import typer

from host_tools.failure import Exit, Failure

app = typer.Typer(
    help="What boards verify by: `rootlet certs embed`, `store`, `pin`; renewal: `rotate`; expiry: `audit`.",
    no_args_is_help=True,
)

BuildTime = Annotated[
    int | None,
    typer.Option(
        "--build-time",
        help="Unix seconds, the board's clock floor. Else SOURCE_DATE_EPOCH, else the last midnight UTC.",
    ),
]


@app.callback()
def certs() -> None:
    """What boards verify by, its renewal, and an audit of all the certificates a project uses."""


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
    from host_tools import find_board, rotate
    from host_tools.commands.ca import _authority

    if trust is not None and trust.with_suffix(".mpy").is_file():
        trust = trust.with_suffix(".mpy")
    request = rotate.Request(
        device, directory, not keep_identity, trust, roots,
        None if pins is None else () if pins == ["none"] else tuple(pins), days, wait_s=wait_s,
    )  # fmt: skip
    where = find_board.find(port, command=f"rootlet certs rotate {device}").port
    rotate.run(where, request, lambda: _authority(directory, passphrase_file), typer.echo)
    typer.echo("done: the board uses the new files")


@app.command()
def embed(
    ca_files: Annotated[list[Path], typer.Argument(metavar="CA_FILE...", help="PEM files or bundles, DER files.")],
    out: Annotated[Path, typer.Option("-o", "--out", help="The module to write; .mpy goes beside it.")],
    build_time: BuildTime = None,
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
def store(
    *,
    out: Annotated[Path | None, typer.Option("-o", "--out", help="The store to write.")] = None,
    bundle: Annotated[
        list[Path] | None, typer.Option("--bundle", help="PEM bundle to take roots from; repeatable. Else certifi's.")
    ] = None,
    root: Annotated[
        list[str] | None,
        typer.Option("--root", help="Only roots with this in their subject, or this SHA-256; repeatable."),
    ] = None,
    host: Annotated[
        list[str] | None,
        typer.Option("--host", help="Only the root this HOST[:PORT] needs, and its successors; repeatable."),
    ] = None,
    deny: Annotated[list[str] | None, typer.Option("--deny", help="Leave these out; as --root.")] = None,
    max_bytes: Annotated[
        int | None, typer.Option("--max-bytes", help="As many as fit: the chosen ones must, successors may.")
    ] = None,
    build_time: BuildTime = None,
    check: Annotated[Path | None, typer.Option("--check", help="Check a store and list it; writes nothing.")] = None,
) -> None:
    """Write a root store: name, key and end date of every public root, for the board to choose from.

    The board looks up the one root that a server needs. Copy it by `rootlet deploy --roots FILE`.

    Example: rootlet certs store -o build/roots.bin

    Example: rootlet certs store --root 'ISRG Root' --host api.example.com --max-bytes 8000 -o build/roots.bin
    """
    from host_tools import root_store

    if check is not None:
        for line in root_store.listing(check):
            typer.echo(line)
        return
    if out is None:
        raise Failure("no file was named", "-o is missing", "rootlet certs store -o build/roots.bin", Exit.USAGE)
    made = root_store.make(
        out,
        bundles=bundle or [],
        names=root or [],
        hosts=host or [],
        deny=deny or [],
        max_bytes=max_bytes,
        build_time=build_time,
    )
    for line in made:
        typer.echo(line)


@app.command()
def audit(
    targets: Annotated[
        list[str] | None,
        typer.Argument(metavar="[TARGET...]", help="HOST:PORT, certificate files, config.json files."),
    ] = None,
    within: Annotated[str, typer.Option("--within", help="What ends sooner than this fails: 60d, 8w, 36h.")] = "30d",
    ca: Annotated[
        Path | None,
        typer.Option(
            "--ca",
            help="Trust anchors; else build/trust_roots.py or ca-data/ca.crt.pem of this folder, then certifi's.",
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, max=300, help="Seconds a connection.")] = 10.0,
) -> None:
    """Judge all that a project uses, a line each; exit code 1 when anything fails or ends soon. Fit for cron.

    Without a target: config.json and ca-data of this folder.

    Example: rootlet certs audit --within 60d --ca ca-data/ca.crt.pem config.json broker.example.org:8883
    """
    import json

    from host_tools.inspect import audit as auditing

    wanted = targets or auditing.default_targets(Path())
    rows = auditing.audit(wanted, within_s=auditing.horizon(within), ca=ca, timeout=timeout)
    typer.echo(json.dumps(auditing.as_json(rows), indent=2) if as_json else auditing.text(rows))
    raise typer.Exit(int(Exit.FAILED if auditing.bad(rows) else Exit.OK))


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
