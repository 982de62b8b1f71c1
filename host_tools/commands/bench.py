"""`rootlet bench`: speed and size, measured here and now."""

from typing import Annotated

import typer


def bench(
    engine: Annotated[str, typer.Option(help="Broker: auto, mosquitto or amqtt.")] = "auto",
    brokers: Annotated[
        bool, typer.Option("--brokers", help="Measure each installed broker instead: memory, messages, handshakes.")
    ] = False,
) -> None:
    """Measure publishing against stock umqtt.simple, and the size of the compiled firmware.

    Example: rootlet bench
    """
    if brokers:
        from host_tools import bench_brokers

        bench_brokers.run(typer.echo, None if engine == "auto" else [engine])
        return
    from host_tools import bench as measure

    measure.run(typer.echo, engine)
