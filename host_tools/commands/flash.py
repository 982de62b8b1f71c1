"""`rootlet flash`: MicroPython onto a board, alone or with its whole file system."""

import tempfile
from pathlib import Path
from typing import Annotated

import typer

from host_tools.failure import Exit, Failure


def flash(
    device: Annotated[str | None, typer.Argument(help="A device of the project: gives its board and port.")] = None,
    board: Annotated[str | None, typer.Option(help="Which board; taken from the firmware file where left out.")] = None,
    firmware: Annotated[Path | None, typer.Option(help="MicroPython firmware: .uf2 (Pico) or .bin (ESP32).")] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch the newest release from micropython.org.")
    ] = False,
    port: Annotated[str | None, typer.Option(help="Serial port (ESP32).")] = None,
    drive: Annotated[Path | None, typer.Option(help="Folder where the boot loader's drive is mounted (Pico).")] = None,
    full: Annotated[
        str | None,
        typer.Option(metavar="TREE_OR_DEVICE", help="One image with the file system that holds this tree or device."),
    ] = None,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Write the full image here; flash nothing.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file of -o (kept as .bak).")] = False,
    no_stub: Annotated[bool, typer.Option("--no-stub", help="Let the ESP32's ROM loader write; slower.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be written where; touch nothing.")] = False,
) -> None:
    """Flash MicroPython onto a board; the file is checked against the board before anything is written.

    Example: rootlet flash --firmware RPI_PICO_W-20251209-v1.27.0.uf2

    Example: rootlet flash --full build/tree --firmware RPI_PICO_W.uf2 -o image.uf2
    """
    from host_tools import boards, firmware_files
    from host_tools import flash as steps
    from host_tools.paths import BUILD

    if out and not full:
        raise Failure("-o is for --full", "there is no image to write", "rootlet flash --full TREE -o FILE", Exit.USAGE)
    if device and full:
        raise Failure(
            "a device is named twice", "as argument and by --full", f"rootlet flash --full {full}", Exit.USAGE
        )
    serial = provisioned = None
    facts = boards.load(board) if board else None
    name = device or (full if full and not Path(full).is_dir() else None)
    if name:
        its_board, serial, provisioned = steps.project_device(name)
        if facts and facts["id"] != its_board["id"]:
            raise Failure(
                f"{name} has another board", f"the project says {its_board['id']}", "leave --board out", Exit.USAGE
            )
        facts = its_board
    if firmware is None and download:
        if facts is None:
            raise Failure("which board?", "--download needs --board", "rootlet boards", Exit.USAGE)
        firmware = firmware_files.download(facts, BUILD / "firmware")
    if firmware is None:
        where = firmware_files.page(facts) if facts else firmware_files.SITE + "/download/"
        chosen = f" --board {facts['id']}" if facts else ""
        raise Failure(
            "no firmware is given",
            "neither --firmware FILE nor --download",
            f"rootlet flash{chosen} --firmware FILE   (from {where}), or --download",
            Exit.USAGE,
        )
    data = firmware_files.read(firmware)
    if facts is None:
        facts = firmware_files.board_of(data, firmware.name)
        typer.echo(f"board: {facts['name']} ({facts['id']}), by the file")
    checked = firmware_files.check(data, facts, firmware.name)
    source = str(firmware)
    if full:
        with tempfile.TemporaryDirectory(prefix="rootlet-") as folder:
            tree = Path(full) if provisioned is None else steps.stage_device(facts, provisioned, Path(folder) / "tree")
            checked, count = steps.with_tree(checked, firmware.name, tree)
        source = f"{source} and {count} files of {full}"
    typer.echo(f"from {source}\nwrites {checked.writes}\nSHA-256 {checked.sha256}")
    if out:
        if dry_run:
            typer.echo(f"to {out}; dry run: nothing was written")
            return
        steps.keep(checked, out, force)
        typer.echo(
            f"{out} written, mode 0600: it holds the device's keys, if it has any\nto flash it: rootlet flash --firmware {out}"
        )
        return
    is_drive = facts["image"]["format"] == "uf2"
    if is_drive:
        target = str(steps.choose_drive(facts, drive))
    else:
        target = port or steps.find_port(serial)
    typer.echo(f"to {facts['name']} on {target}")
    if dry_run:
        typer.echo("dry run: nothing was written")
    elif is_drive:
        before = steps.serial_ports()
        steps.write_uf2(checked, Path(target), typer.echo)
        came = steps.wait_for_port(before)
        typer.echo(f"it is back on {came}" if came else "no serial port has come yet; mpremote devs lists them")
    else:
        steps.write_esp(checked, target, typer.echo, lambda text: typer.echo(text, nl=False), stub=not no_stub)
