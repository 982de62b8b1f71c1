"""`rootlet doctor`: looks for what is wrong, and says what to do."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from host_tools.failure import Exit


def doctor(
    device: Annotated[str | None, typer.Argument(metavar="[DEVICE]", help="Only this device of the project.")] = None,
    port: Annotated[str | None, typer.Option("--port", help="The board's serial port.")] = None,
    ask: Annotated[
        bool, typer.Option("--ask", help="Stop the board's program, ask the board about itself, and restart it.")
    ] = False,
    network: Annotated[
        bool, typer.Option("--network", help="Ask brokers and time servers beyond this machine too.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: one JSON array.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=1, max=600, help="Seconds for all checks.")] = 30.0,
) -> None:
    """Check this machine, the folder's project and certificates, its broker and a board; say what to do.

    Without --network nothing leaves this machine; without --ask no board is disturbed.

    Example: rootlet doctor --ask

    Exit code: 0 no problem, 1 there is one, 2 several boards to ask and none named, 3 no board to ask.
    """
    from host_tools import doctor as looking
    from host_tools import find_board
    from host_tools.doctor_checks import CHECKS

    found = looking.setup(Path.cwd(), device, port=port, ask=ask, network=network)
    if ask and port is None:
        # A board's program is stopped only where it is plain which board is meant.
        serial = found.devices[0].serial if found.named else None
        one = find_board.find(
            serial=serial, command=" ".join(["rootlet doctor", *([device] if device else []), "--ask"])
        )
        found = looking.setup(Path.cwd(), device, port=one.port, ask=ask, network=network)
    rows = looking.run(found, CHECKS, timeout)
    if as_json:
        typer.echo(json.dumps(looking.as_json(rows), indent=2))
    else:
        typer.echo(looking.text(rows, sys.stdout.encoding))
        count = sum(row.status == "problem" for row in rows)
        typer.echo(f"\n{count} problem{'' if count == 1 else 's'}" if count else "\nno problem found")
    raise typer.Exit(int(Exit.FAILED if looking.bad(rows) else Exit.OK))
