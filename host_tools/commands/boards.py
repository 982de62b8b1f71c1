"""`rootlet boards`: lists the boards that Rootlet knows."""

import json
from typing import Annotated

import typer

from host_tools.boards import Board, all_boards


def _row(board: Board) -> tuple[str, ...]:
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


def boards(
    as_json: Annotated[bool, typer.Option("--json", help="The whole board files, as one JSON array.")] = False,
) -> None:
    """List the boards: heap, file system, LED. Example: rootlet boards"""
    rows = all_boards()
    if as_json:
        typer.echo(json.dumps(rows, indent=2))
        return
    table = [("ID", "NAME", "PORT", "CHIP", "ARCH", "HEAP", "FILES", "LED"), *map(_row, rows)]
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        typer.echo("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
