"""`rootlet bench`: speed and size, measured here and now."""

from typing import Annotated

import typer


def bench(
    group: Annotated[list[str] | None, typer.Option(help="Only this group; may be given again.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A few seconds each; the figures say little.")] = False,
    check: Annotated[
        bool, typer.Option("--check", help="Fail where a ratio is worse than docs/bench-reference.json allows.")
    ] = False,
    reference: Annotated[
        bool, typer.Option("--reference", help="Make these figures docs/bench-reference.json.")
    ] = False,
    readme: Annotated[bool, typer.Option("--readme", help="Put the chief figures into README.md.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print build/bench.json.")] = False,
    device: Annotated[
        str | None, typer.Option("--device", help="Serial port of a board to measure, instead of the virtual one.")
    ] = None,
    address: Annotated[
        str | None, typer.Option("--address", help="With --device: this machine, as the board reaches it.")
    ] = None,
    engine: Annotated[str, typer.Option(help="Broker with --brokers: auto, or a name.")] = "auto",
    brokers: Annotated[
        bool, typer.Option("--brokers", help="Measure each installed broker instead: memory, messages, handshakes.")
    ] = False,
) -> None:
    """Measure Rootlet against its peers, and the size of the compiled firmware; writes build/bench.json, .md and .svg.

    Example: rootlet bench --group publish
    """
    if brokers:
        from host_tools import bench_brokers

        bench_brokers.run(typer.echo, None if engine == "auto" else [engine])
        return
    from host_tools.bench import check as against
    from host_tools.bench import report, run
    from host_tools.bench.device import DevicePlace
    from host_tools.bench.place import Place, VirtualPlace

    groups = run.chosen(group or [])
    chosen: Place = DevicePlace(device, address) if device else VirtualPlace()
    with chosen as place:
        result = run.run(place, groups, quick, lambda name: typer.echo(f"measuring {name}", err=True))
    paths = report.write(result)
    typer.echo(report.as_json(result) if as_json else report.markdown(result), nl=False)
    for path in paths:
        typer.echo(f"wrote {path}", err=True)
    if readme:
        report.into_readme(result)
    if reference:
        against.REFERENCE.write_text(report.as_json(result), encoding="utf-8")
    if check:
        for line in against.check(result["rows"]):
            typer.echo(line, err=True)
