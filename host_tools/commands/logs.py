"""`rootlet logs`: a board's console."""

import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from host_tools.console_lines import Line


def logs(
    device: Annotated[str | None, typer.Argument(metavar="[DEVICE]", help="The device's id in the project.")] = None,
    port: Annotated[
        str | None, typer.Option(help="Serial port; found by itself where one board is plugged in.")
    ] = None,
    since_reset: Annotated[
        bool, typer.Option("--since-reset", help="Wait for the board's next start, and show from there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
    seconds: Annotated[float, typer.Option(help="End after this many seconds; 0: at Ctrl-C.", min=0)] = 0,
) -> None:
    """Show a board's console, explained, without disturbing its program; goes on when the board resets. Ctrl-C ends it.

    Passwords and keys of the project, of config.json here, and what looks like one, are shown as [hidden].

    Example: rootlet logs --port /dev/ttyACM0
    """
    from host_tools import logs as steps
    from host_tools import masking, ports
    from host_tools.console_lines import Reader

    project = ports.find_project() if device else ports.any_project()
    target = ports.choose(device, port, "rootlet logs", project)
    reader = Reader(masking.Masker(masking.known(project, Path(), device)))

    def machine(kind: str, line: "Line | None", words: str) -> None:
        print(steps.as_json(kind, line, words, datetime.now(UTC)), flush=True)

    show = machine if as_json else steps.printer()
    try:
        steps.run(target, reader, show, since_reset=since_reset, seconds=seconds)
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    except BrokenPipeError:  # whoever read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None
