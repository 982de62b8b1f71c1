"""`rootlet psk`: keys shared between one board and the broker, in place of certificates."""

import json
from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    help="Pre-shared keys: no certificates, NO forward secrecy; for private brokers. Needs MicroPython 1.29 or newer.",
    no_args_is_help=True,
)

Dir = Annotated[Path, typer.Option("--dir", help="The keys lie in its folder psk/.")]
HERE = Path("ca-data")


@app.command()
def new(
    device: Annotated[str, typer.Argument(metavar="DEVICE", help="The device id of its config.json.")],
    directory: Dir = HERE,
    force: Annotated[bool, typer.Option("--force", help="Replace the key; the old one stays as .bak.")] = False,
) -> None:
    """Make a key of 32 random bytes for one device. It is never printed.

    There is no forward secrecy: whoever learns the key can read what was recorded before. Nothing but the key tells
    who is who. Where you can, take certificates instead: `rootlet ca issue device`.

    Example: rootlet psk new pico-1
    """
    from host_tools import psk

    made = psk.new(device, directory, force=force)
    typer.echo(f"device       {made.device} (also its identity, and its name in the broker's access list)")
    typer.echo(f"for broker   {made.hex_file}")
    typer.echo(f"for board    {made.raw_file}")
    for limit in psk.LIMITS:
        typer.echo(f"note         {limit}")
    typer.echo('next         in config.json: "mqtt": {"host": …, "port": 8884, "psk": "device.psk"}')
    typer.echo(f"             rootlet deploy --config config.json --psk {made.raw_file}")
    typer.echo(f"             rootlet broker --psk {directory}")


@app.command("list")
def list_(directory: Dir = HERE, as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False) -> None:
    """List the devices that have a key, and since when; never the keys.

    Example: rootlet psk list
    """
    from host_tools import psk

    found = psk.entries(directory)
    if as_json:
        typer.echo(json.dumps(found, indent=2))
        return
    for entry in found:
        typer.echo(f"{entry['device']:<24}  since {entry['made']}  {entry['file']}")
    if not found:
        typer.echo(f"no key in {directory}; to make one: rootlet psk new DEVICE --dir {directory}")
