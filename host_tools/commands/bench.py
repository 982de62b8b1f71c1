"""`rootlet bench`: speed and size, measured here and now."""

from typing import Annotated

import typer


def bench(
    group: Annotated[list[str] | None, typer.Option(help="Only this group; may be given again.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A second or two each; the figures say little.")] = False,
    engine: Annotated[str, typer.Option(help="Broker with --brokers: auto, mosquitto or amqtt.")] = "auto",
    brokers: Annotated[
        bool, typer.Option("--brokers", help="Measure each installed broker instead: memory, messages, handshakes.")
    ] = False,
) -> None:
    """Measure Rootlet against its peers, and the size of the compiled firmware.

    Example: rootlet bench --group publish
    """
    if brokers:
        from host_tools import bench_brokers

        bench_brokers.run(typer.echo, None if engine == "auto" else [engine])
        return
    from host_tools.bench import report, run
    from host_tools.bench.place import VirtualPlace

    groups = run.chosen(group or [])
    with VirtualPlace() as place:
        result = run.run(place, groups, quick, lambda name: typer.echo(f"{name} …", err=True))
    typer.echo(report.markdown(result))
    for path in report.write(result):
        typer.echo(f"wrote {path}", err=True)
