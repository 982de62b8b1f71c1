"""`rootlet sim`: runs a virtual board until Ctrl-C."""

from pathlib import Path
from typing import Annotated

import typer


def sim(
    board: Annotated[str, typer.Option(help="The board, as in `rootlet boards --known`.")] = "pico_w",
    fs: Annotated[Path, typer.Option(help="The folder that is its flash; made if absent.")] = Path("build/sim"),
    script: Annotated[
        Path | None,
        typer.Option(help="JSON file of its WiFi networks, sensors, clock and faults; read again when it changes."),
    ] = None,
    link: Annotated[Path | None, typer.Option(help="Make a link to the serial port at this path.")] = None,
) -> None:
    """Run a virtual board: real MicroPython on a serial port of its own, for mpremote.

    Example: rootlet sim --board pico_w --fs build/sim --script wifi.json

    The script, every part optional:
    {"wifi": {"networks": {"home": {"password": "secret", "dhcp": true, "join_ms": 50, "rssi": -50, "stuck": false,
    "needs_reboot": false}}, "scan_ms": 50, "events": [{"at_ms": 5000, "lose_ap": "home", "for_ms": 3000}]},
    "dns": {"broker.example": "127.0.0.1", "other.example": ["127.0.0.2", "127.0.0.1"], "gone.example": "fail"},
    "clock": {"start": "2021-01-01T00:00:00Z", "settable": true},
    "sensors": {"temperature_c": 21, "adc": {"26": 32768}, "dht": {"15": {"temperature": 21.5, "humidity": 40}},
    "ds18x20": {"22": [19.5]}}, "faults": {"flash_full": false, "cut": {"at_write": 5, "keep": 3}}}

    stuck: the interface joins for ever, until it has been switched off and on; needs_reboot: until a hard reset.
    Either may be a number, and hangs again when that changes. cut: the power goes at the 5th write to the flash, of
    which 3 bytes are kept; or {"at_change": 2, "after": true}, at the 2nd rename, remove, mkdir, rmdir or emptying
    of a file. The power comes back when the script is changed.
    """
    from host_tools.sim.serve import serve

    serve(typer.echo, board=board, fs=fs, script=script, link=link)
