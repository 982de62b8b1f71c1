"""`rootlet demo`: everything on this machine, without a board."""

import threading
from typing import Annotated

import typer


def demo(
    keep: Annotated[
        bool, typer.Option("--keep", help="Leave it running until Ctrl-C, with the commands to watch it.")
    ] = False,
    engine: Annotated[str, typer.Option(help="Broker: auto, mosquitto or amqtt.")] = "auto",
) -> None:
    """Show it all on this machine: CA, broker, virtual Pico W, verified readings, three refusals.

    Example: rootlet demo --keep
    """
    from host_tools import demo as steps

    def wait(running: steps.Running) -> None:
        typer.echo("")
        typer.echo("It is running. Watch it from another terminal:")
        typer.echo(
            f"  rootlet watch localhost:{running.broker_port} --ca {running.ca_file}"
            f" --cert {running.observer_cert} --key {running.observer_key}"
        )
        typer.echo(f"  mpremote connect {running.board_port} resume repl      (the board's own console)")
        typer.echo("Ctrl-C here goes on to the refusals and ends it.")
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            typer.echo("")

    steps.run(typer.echo, keep=wait if keep else None, engine=engine)
