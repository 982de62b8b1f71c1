"""`rootlet boards`: what is connected; with --known, the boards that Rootlet knows."""

import json
from typing import TYPE_CHECKING, Annotated

import typer

from host_tools.boards import Board, all_boards
from host_tools.failure import Exit, Failure

if TYPE_CHECKING:
    from host_tools.ask_board import Board as Answer
    from host_tools.find_board import Drive, Found


def _known_row(board: Board) -> tuple[str, ...]:
    return (
        board["id"],
        board["name"],
        board["port"],
        board["chip"],
        board["arch"],
        f"{board['heap_bytes'] // 1024} KB",
        f"{board['flash']['filesystem_bytes'] // 1024} KB",
        "none" if board["led"] is None else str(board["led"]),
    )


def _table(rows: list[tuple[str, ...]]) -> None:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def _known(as_json: bool) -> None:
    rows = all_boards()
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    _table([("ID", "NAME", "PORT", "CHIP", "ARCH", "HEAP", "FILES", "LED"), *map(_known_row, rows)])


def _kb(count: int | None) -> str:
    return "-" if count is None else f"{count // 1024} KB"


def _row(found: "Found", answer: "Answer | Failure | None") -> tuple[str, ...]:
    from host_tools.ask_board import state

    start = (found.port, found.serial or "-")
    end = state(found, answer)
    if answer is None or isinstance(answer, Failure):
        return (*start, found.chip or "-", "-", "-", "-", "-", "-", end)
    return (
        *start,
        answer.chip or found.chip or "-",
        answer.micropython or "-",
        _kb(answer.flash_free),
        _kb(answer.heap_free),
        answer.rootlet or "none",
        answer.device or "none",
        end,
    )


def _drive_row(drive: "Drive") -> tuple[str, ...]:
    return (str(drive.path), "-", drive.model or "-", "-", "-", "-", "-", "-", "BOOTSEL")


def _explain(failure: Failure) -> None:
    typer.echo(f"\n{failure}")


def boards(
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON array.")] = False,
    port: Annotated[list[str] | None, typer.Option("--port", help="Only this port; may be repeated.")] = None,
    ask: Annotated[
        bool, typer.Option("--ask", help="Stop each board's program, ask the board about itself, and restart it.")
    ] = False,
    known: Annotated[bool, typer.Option("--known", help="The boards that Rootlet knows, for --board ID.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=1, max=300, help="Seconds for a board's answer.")] = 20.0,
) -> None:
    """List the connected boards. Without --ask no board is disturbed.

    Example: rootlet boards --ask

    Exit code: 0 boards are there (and answered), 1 one did not answer, 3 there is none.
    """
    if known:
        _known(as_json)
        return
    from host_tools import ask_board, find_board

    found = [find_board.find(one) for one in port] if port else find_board.connected()
    drives = [] if port else find_board.drives()
    rows: list[tuple[Found, Answer | Failure | None]]
    # A ROM loader speaks no MicroPython: a question would only take its time.
    asked = [one for one in found if ask and one.state not in ("ROM loader", "BOOTSEL")]
    answers = dict(ask_board.ask_all(asked, timeout_s=timeout))
    rows = [(one, answers.get(one)) for one in found]
    failed = [answer for _, answer in rows if isinstance(answer, Failure)]
    if as_json:
        data = [ask_board.as_json(*row) for row in rows]
        data += [{"volume": str(drive.path), "state": "BOOTSEL", "model": drive.model, "board_id": drive.board_id}
                 for drive in drives]  # fmt: skip
        typer.echo(json.dumps(data, indent=2))
    elif rows or drives:
        head = ("PORT", "SERIAL", "CHIP", "MICROPYTHON", "FLASH FREE", "HEAP FREE", "ROOTLET", "DEVICE", "STATE")
        _table([head, *[_row(*row) for row in rows], *map(_drive_row, drives)])
        if not ask and rows:
            typer.echo("\nnot asked; to stop each program, ask, and restart it: rootlet boards --ask")
        for failure in failed:
            _explain(failure)
    else:
        find_board.find()  # tells that there is none, and what to do
    if not rows and not drives:
        raise typer.Exit(int(Exit.NO_DEVICE))
    if failed:
        raise typer.Exit(int(failed[0].code))
