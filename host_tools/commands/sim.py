"""`rootlet sim`: runs a virtual board, or a simulated fleet, until Ctrl-C."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from host_tools.failure import Exit, Failure

if TYPE_CHECKING:
    from host_tools.fleet_run import Elsewhere


def sim(
    board: Annotated[str, typer.Option(help="The board, as in `rootlet boards --known`.")] = "pico_w",
    fs: Annotated[Path, typer.Option(help="The folder that is its flash; made if absent.")] = Path("build/sim"),
    script: Annotated[
        Path | None,
        typer.Option(help="JSON file of its WiFi networks, sensors, clock and faults; read again when it changes."),
    ] = None,
    frozen: Annotated[
        bool,
        typer.Option("--frozen", help="The firmware is in its MicroPython (boards/manifest.py), not on its flash."),
    ] = False,
    link: Annotated[Path | None, typer.Option(help="Make a link to the serial port at this path.")] = None,
    time: Annotated[
        int | None,
        typer.Option(metavar="PORT", help="A time server beside it, on loopback; 0: any port.", min=0, max=65535),
    ] = None,
    count: Annotated[
        int | None, typer.Option(help="A fleet instead: so many light devices, each with a certificate of its own.")
    ] = None,
    broker: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Fleet: its broker; else one is started here.")
    ] = None,
    ca_dir: Annotated[
        Path | None, typer.Option(help="Fleet with --broker: folder of the CA that issues its certificates.")
    ] = None,
    ca: Annotated[
        Path | None,
        typer.Option(help="Fleet with --broker: PEM file of the broker's CA, if another.", exists=True, dir_okay=False),
    ] = None,
    real: Annotated[int, typer.Option(help="Fleet: so many virtual boards with the firmware beside it.")] = 0,
    every: Annotated[float, typer.Option(help="Fleet: seconds between a device's readings.", min=0.05)] = 10,
    seconds: Annotated[float | None, typer.Option(help="Fleet: end after so long.", min=0)] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Fleet: the report as JSON.")] = False,
) -> None:
    """Run a virtual board: real MicroPython on a serial port of its own, for mpremote. With --count, a fleet.

    Example: rootlet sim --board pico_w --fs build/sim --script wifi.json

    Example: rootlet sim --script wifi.json --time 12300

    Example: rootlet sim --count 1000 --real 1 --seconds 60

    The script, every part optional:
    {"wifi": {"networks": {"home": {"password": "my-password", "dhcp": true, "join_ms": 50, "rssi": -50, "stuck": false,
    "needs_reboot": false}}, "scan_ms": 50, "events": [{"at_ms": 5000, "lose_ap": "home", "for_ms": 3000}]},
    "dns": {"broker.example": "127.0.0.1", "other.example": ["127.0.0.2", "127.0.0.1"], "gone.example": "fail"},
    "clock": {"start": "2021-01-01T00:00:00Z", "settable": true},
    "sensors": {"temperature_c": 21, "adc": {"26": 32768}, "dht": {"15": {"temperature": 21.5, "humidity": 40}},
    "ds18x20": {"22": [19.5]}}, "faults": {"flash_full": false, "cut": {"at_write": 5, "keep": 3}},
    "ble": {"peripherals": [{"kind": "ruuvi", "address": "C4:7C:8D:6A:3E:01", "values": {"temperature": 21.5}}]}}

    stuck: the interface joins for ever, until it has been switched off and on; needs_reboot: until a hard reset.
    Either may be a number, and hangs again when that changes. cut: the power goes at the 5th write to the flash, of
    which 3 bytes are kept; or {"at_change": 2, "after": true}, at the 2nd rename, remove, mkdir, rmdir or emptying
    of a file. The power comes back when the script is changed. ble: Bluetooth sensors around it: docs/virtual-ble.md.
    """
    if count is None:
        if broker or ca_dir or ca or real or seconds is not None or as_json:
            because = "--broker, --ca-dir, --ca, --real, --seconds and --json belong to a fleet"
            raise Failure("how many devices?", because, "rootlet sim --count 100 …", Exit.USAGE)
        from host_tools.sim.serve import serve

        serve(typer.echo, board=board, fs=fs, script=script, link=link, frozen=frozen, time_port=time)
        return
    from host_tools.fleet_run import run

    if frozen:
        because = "a fleet's devices are no boards, and those of --real have the firmware on their flash"
        raise Failure("--frozen is for one virtual board", because, "leave out --count", Exit.USAGE)
    if time is not None:
        because = "a fleet has a time server of its own"
        raise Failure("--time is for one virtual board", because, "leave out --time", Exit.USAGE)
    place = _elsewhere(broker, ca_dir, ca)
    report = run(
        lambda text: typer.echo(text, err=as_json), count, broker=place, seconds=seconds, every_s=every, real=real
    )
    typer.echo(json.dumps(report.facts()) if as_json else "\n".join(report.lines()))
    if lost := report.lost():
        raise Failure("not all is well", lost, "look at the broker's log, or start fewer devices")


def _elsewhere(broker: str | None, ca_dir: Path | None, ca: Path | None) -> "Elsewhere | None":
    from host_tools.commands.ca import _authority
    from host_tools.commands.observer import host_port
    from host_tools.fleet_run import Elsewhere

    if broker is None:
        if ca_dir or ca:
            because = "the broker that is started here has a CA of its own"
            raise Failure("--ca-dir and --ca need --broker", because, "add --broker HOST:PORT", Exit.USAGE)
        return None
    host, port = host_port(broker, "rootlet sim")
    ca_dir = ca_dir or Path("ca-data")
    return Elsewhere(host, port, ca or ca_dir / "ca.crt.pem", _authority(ca_dir, None))
