"""`rootlet bench`: speed and size, measured here and now."""

from typing import Annotated

import typer


def bench(
    engine: Annotated[str, typer.Option(help="Broker: auto, mosquitto or amqtt.")] = "auto",
) -> None:
    """Measure publishing against stock umqtt.simple, and the size of the compiled firmware.

    Example: rootlet bench
    """
    from host_tools import bench as measure

    measure.run(typer.echo, engine)
