"""`rootlet new`: the folder of a new project."""

from pathlib import Path
from typing import Annotated

import typer


def new(
    name: Annotated[Path, typer.Argument(metavar="NAME", help="The folder to make; its last part is the name.")],
    board: Annotated[str, typer.Option("--board", help="The board of its devices; see `rootlet boards`.")] = "pico_w",
) -> None:
    """Make a project: rootlet.toml to edit, secrets.toml (mode 0600) to fill in, .gitignore. Overwrites nothing.

    Example: rootlet new garden --board pico_w
    """
    from host_tools import project_new

    for path in project_new.new(name, board):
        typer.echo(f"file         {path}")
    for number, step in enumerate(project_new.next_steps(name), 1):
        typer.echo(f"{'next' if number == 1 else '':<12} {number}. {step}")
