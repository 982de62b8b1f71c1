"""`rootlet deploy`: the firmware, configuration and certificates onto a board."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from host_tools.failure import Exit, Failure


def deploy(
    port: Annotated[
        str | None, typer.Option(help="Serial port; found by itself where one board is plugged in.")
    ] = None,
    board: Annotated[str, typer.Option(help="Which board; see `rootlet boards --known`.")] = "pico_w",
    config: Annotated[Path | None, typer.Option(help="Configuration (JSON), checked first.")] = None,
    trust: Annotated[
        Path | None, typer.Option(help="Cert module of `rootlet certs embed`; its .mpy is taken if there.")
    ] = None,
    roots: Annotated[
        Path | None, typer.Option(help="Root store of `rootlet certs store`, to verify public servers.")
    ] = None,
    cert: Annotated[Path | None, typer.Option(help="The device's certificate, DER.")] = None,
    key: Annotated[Path | None, typer.Option(help="The device's private key, DER.")] = None,
    psk: Annotated[
        Path | None, typer.Option(help="The device's pre-shared key (DEVICE.psk), in place of --cert and --key.")
    ] = None,
    reset: Annotated[bool, typer.Option("--reset", help="Restart the board afterwards.")] = False,
) -> None:
    """Copy the firmware, and what is given, onto a board; files that are there already are skipped.

    Example: rootlet deploy --board pico_w --config config.json --trust build/trust_roots.py
    """
    from host_tools import deploy as steps
    from host_tools import find_board

    if (cert is None) != (key is None):
        raise Failure("--cert and --key belong together", "only one is given", "give both, or neither", Exit.USAGE)
    if psk is not None and cert is not None:
        raise Failure(
            "--psk and --cert exclude each other", "both are given", "a shared key or a certificate", Exit.USAGE
        )
    for path in (config, trust, roots, cert, key, psk):
        if path is not None and not path.is_file():
            raise Failure(f"{path} is no file", "it is absent or a folder", "check the path", Exit.USAGE)
    if trust is not None and trust.with_suffix(".mpy").is_file():
        trust = trust.with_suffix(".mpy")
    where = find_board.find(port).port
    if not port:
        typer.echo(f"board on {where}")
    # The tree holds the device's key: it lives in a private folder and goes when the copy is done.
    with tempfile.TemporaryDirectory(prefix="rootlet-") as folder:
        tree = steps.stage(
            Path(folder) / "tree", board=board, config=config, trust=trust, roots=roots, cert=cert, key=key, psk=psk
        )
        names = steps.copy_to_board(where, tree)
        total = sum(1 for path in tree.rglob("*") if path.is_file())
    slot = steps.slot_in_use(where) if trust or cert else ""
    if slot:
        typer.echo(f"note: the board uses its slot {slot}, which goes before what was copied; see docs/rotation.md")
    typer.echo(f"{len(names)} files copied, {total - len(names)} were there already; all checked by SHA-256")
    if reset:
        steps.reset(where)
        typer.echo(f"restarted; to see its console: mpremote connect {where} repl")
    else:
        typer.echo(f"to start it: mpremote connect {where} reset")
