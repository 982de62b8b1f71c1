"""`rootlet flash`: MicroPython onto a board, alone or with its whole file system."""

import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from host_tools.failure import Exit, Failure

if TYPE_CHECKING:
    from host_tools.boards import Board
    from host_tools.firmware_files import Checked


def flash(
    device: Annotated[str | None, typer.Argument(help="A device of the project: gives its board and port.")] = None,
    board: Annotated[str | None, typer.Option(help="Which board; taken from the firmware file where left out.")] = None,
    firmware: Annotated[
        Path | None, typer.Option(readable=False, help="MicroPython firmware: .uf2 (Pico), .bin (ESP32).")
    ] = None,
    download: Annotated[
        bool, typer.Option("--download", help="Fetch the newest release from micropython.org.")
    ] = False,
    port: Annotated[str | None, typer.Option(help="Serial port (ESP32).")] = None,
    drive: Annotated[
        Path | None, typer.Option(readable=False, help="Where the boot loader's drive is mounted (Pico).")
    ] = None,
    flash_mb: Annotated[
        int | None, typer.Option(min=1, max=128, help="Flash of an ESP32 module; its board file says 4 MB.")
    ] = None,
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
    from host_tools import find_board, firmware_files
    from host_tools import flash as steps

    if out and not full:
        raise Failure("-o is for --full", "there is no image to write", "rootlet flash --full TREE -o FILE", Exit.USAGE)
    facts, serial, provisioned = _which(device, full, board)
    path = _firmware(facts, firmware, download)
    data = firmware_files.read(path)
    if facts is None:
        facts = firmware_files.board_of(data, path.name)
        typer.echo(f"board: {facts['name']} ({facts['id']}), by the file")
    if flash_mb:
        facts = firmware_files.with_flash(facts, flash_mb)
    checked = firmware_files.check(data, facts, path.name)
    source = str(path)
    if full:
        with tempfile.TemporaryDirectory(prefix="rootlet-") as folder:
            tree = steps.stage_device(facts, provisioned, Path(folder) / "tree") if provisioned else Path(full)
            checked, count = steps.with_tree(checked, path.name, tree)
        source = f"{path} and {count} files of {full}"
    typer.echo(f"from {source}\nwrites {checked.writes}\nSHA-256 {checked.sha256}")
    if out:
        if dry_run:
            typer.echo(f"to {out}; dry run: nothing was written")
            return
        steps.keep(checked, out, force)
        typer.echo(f"{out} written, for its owner only: it may hold keys\nto flash it: rootlet flash --firmware {out}")
        return
    if facts["image"]["format"] == "uf2":
        where = steps.choose_drive(facts, drive)
        _say_target(facts, str(where), dry_run)
        if not dry_run:
            _to_drive(checked, where)
        return
    serial_port = port or find_board.find(serial=serial, command="rootlet flash").port
    _say_target(facts, serial_port, dry_run)
    if not dry_run:
        steps.write_esp(checked, serial_port, typer.echo, _show, stub=not no_stub)


def _which(device: str | None, full: str | None, board: str | None) -> "tuple[Board | None, str | None, Path | None]":
    """The board, its USB serial number and its provisioned folder, as far as the arguments name them."""
    from host_tools import boards
    from host_tools import flash as steps

    if device and full:
        raise Failure(
            "a device is named twice", "as argument and by --full", f"rootlet flash --full {full}", Exit.USAGE
        )
    facts = boards.load(board) if board else None
    name = device or full
    if not name or (full and Path(full).is_dir()):
        return facts, None, None
    its_board, serial, provisioned = steps.project_device(name)
    if facts and facts["id"] != its_board["id"]:
        because = f"the project says {its_board['id']}"
        raise Failure(f"{name} has another board", because, "leave --board out", Exit.USAGE)
    return its_board, serial, provisioned if full else None


def _firmware(facts: "Board | None", given: Path | None, download: bool) -> Path:
    """The firmware file, fetched where that is asked for."""
    from host_tools import firmware_files
    from host_tools.paths import BUILD

    if given:
        return given
    if download and facts is None:
        raise Failure("which board?", "--download needs --board", "rootlet boards", Exit.USAGE)
    if download and facts:
        return firmware_files.download(facts, BUILD / "firmware")
    where = firmware_files.page(facts) if facts else f"{firmware_files.SITE}/download/"
    chosen = f" --board {facts['id']}" if facts else ""
    raise Failure(
        "no firmware is given",
        "neither --firmware FILE nor --download",
        f"rootlet flash{chosen} --firmware FILE   (from {where}), or --download",
        Exit.USAGE,
    )


def _say_target(facts: "Board", where: str, dry_run: bool) -> None:
    typer.echo(f"to {facts['name']} on {where}{'; dry run: nothing was written' if dry_run else ''}")


def _to_drive(checked: "Checked", drive: Path) -> None:
    from host_tools import flash as steps

    before = steps.serial_ports()
    steps.write_uf2(checked, drive, typer.echo)
    came = steps.wait_for_port(before)
    typer.echo(f"it is back on {came}" if came else "no serial port has come yet; rootlet boards lists them")


def _show(line: str) -> None:
    """A line of esptool; its progress stays on one line of a terminal, and is left out elsewhere."""
    if not line.startswith("Writing at"):
        typer.echo(line)
    elif sys.stdout.isatty():
        typer.echo("\r" + line, nl="100.0%" in line)
