"""`rootlet repl`: hands the terminal over to mpremote's REPL on the right port."""

import os
import sys
from typing import Annotated

import typer

from host_tools.failure import Exit, Failure


def repl(
    device: Annotated[str | None, typer.Argument(metavar="[DEVICE]", help="The device's id in the project.")] = None,
    port: Annotated[
        str | None, typer.Option(help="Serial port; found by itself where one board is plugged in.")
    ] = None,
) -> None:
    """Type Python on a board (mpremote's REPL; Ctrl-] leaves it, Ctrl-C stops the board's program).

    Example: rootlet repl --port /dev/ttyACM0
    """
    from host_tools import ports

    target = ports.choose(device, port, "rootlet repl", ports.find_project() if device else None)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        raise Failure(
            "a REPL needs a terminal",
            "standard input or output is none",
            f"mpremote connect {target.port} exec CODE   (or rootlet logs, to read only)",
            Exit.USAGE,
        )
    os.execv(sys.executable, [sys.executable, "-m", "mpremote", "connect", target.port, "resume", "repl"])  # noqa: S606
