"""`rootlet ble`: Bluetooth LE sensors: what is in the air, and what to write for it."""

import json
from typing import Annotated

import typer

app = typer.Typer(
    help="Bluetooth LE sensors: what is heard, and the lines of rootlet.toml for it.", no_args_is_help=True
)


@app.callback()
def ble() -> None:
    """Bluetooth LE sensors: what is heard, and the lines of rootlet.toml for it."""


@app.command()
def scan(
    port: Annotated[str | None, typer.Option("--port", help="The board's serial port.")] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, max=300, help="How long to listen.")] = 10.0,
    active: Annotated[
        bool, typer.Option("--active", help="Ask senders for their names and further data (scan responses).")
    ] = False,
    local: Annotated[bool, typer.Option("--local", help="Listen with this computer's own adapter, by bleak.")] = False,
    everything: Annotated[bool, typer.Option("--all", help="Senders of unknown formats, too.")] = False,
    bindkey: Annotated[
        list[str] | None,
        typer.Option(
            "--bindkey",
            metavar="ADDRESS[=FILE]",
            help="Decrypt this sender. The key is the file's first line, or in ROOTLET_BINDKEY, or asked for.",
        ),
    ] = None,
    connect: Annotated[
        str | None, typer.Option("--connect", metavar="ADDRESS", help="Connect, and list and read what is there.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON object.")] = False,
) -> None:
    """Listen for Bluetooth LE sensors with a board, and print what to put into rootlet.toml.

    The board's program is stopped for it, and restarted.

    Example: rootlet ble scan --active --seconds 20

    Exit code: 0 it has listened (even if nothing was heard), 1 it could not, 3 there is no board.
    """
    from host_tools import ble_explore, ble_keys, ble_local, ble_recognise, ble_report, ble_scan, find_board

    address = ble_scan.address_of(connect) if connect and not local else connect
    keys = ble_keys.read(bindkey or [])
    found = None if local else find_board.find(port, command="rootlet ble scan")
    if not as_json:
        where = "this computer's adapter" if found is None else f"the board on {found.port}; its program is stopped"
        typer.echo(f"listening for {seconds:g} s with {where}", err=True)
    if address is not None:
        rows = ble_local.explore(address, seconds) if found is None else ble_scan.explore(found, address, seconds)
        if as_json:
            typer.echo(json.dumps(ble_explore.as_json(address, rows), indent=2))
            return
        _say(ble_explore.table(rows) or ["it has no services"], ble_explore.toml(address, rows))
        return
    told = ble_local.scan(seconds) if found is None else ble_scan.scan(found, seconds, active)
    devices = ble_recognise.recognise_all(told, keys)
    shown = [device for device in devices if everything or device.format]
    if as_json:
        typer.echo(json.dumps(ble_report.as_json(told, shown), indent=2))
        return
    if shown:
        _say(ble_report.table(shown), ble_report.toml(shown))
    for line in ble_report.hints(told, devices, everything=everything, active=active or local):
        typer.echo(line, err=True)


def _say(lines: list[str], toml: str) -> None:
    for line in lines:
        typer.echo(line)
    if toml:
        typer.echo("\n# for rootlet.toml; the limits and rates of all: [ble]\n")
        typer.echo(toml, nl=False)
