"""`rootlet provision`: keys, certificates, configuration and roots of the project's devices."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from host_tools.failure import Exit, Failure


def provision(
    *,
    device: Annotated[
        str | None, typer.Argument(metavar="[DEVICE]", help="A device id; not needed for only one.")
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="All devices of the project.")] = False,
    fleet: Annotated[
        Path | None, typer.Option("--csv", help="Devices from a CSV file: id, board, serial, broker, any key.")
    ] = None,
    jobs: Annotated[int, typer.Option("--jobs", min=0, max=64, help="Processes; 0: one for each CPU.")] = 0,
    renew: Annotated[bool, typer.Option("--renew", help="New keys and certificates; the old stay as .bak.")] = False,
    days: Annotated[int | None, typer.Option("--days", help="Life of new certificates, in days.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--project", help="The project's folder; else found from here.")
    ] = None,
    secret_cmd: Annotated[
        str | None, typer.Option("--secret-cmd", help="A command that prints the secret whose name it is given.")
    ] = None,
    passphrase_file: Annotated[
        Path | None, typer.Option("--passphrase-file", help="Its first line is the passphrase of the CA key.")
    ] = None,
) -> None:
    """Make what the project's devices need, a folder each under build/devices/; makes the CA if there is none.

    May be repeated, and stopped at any moment: what is complete and valid is kept.

    Example: rootlet provision --all

    Example: rootlet provision --csv fleet.csv --jobs 4
    """
    from host_tools import ca, project
    from host_tools import provision as steps
    from host_tools.commands.ca import _passphrase

    if device is not None and everything:
        raise Failure(
            "DEVICE and --all exclude each other", "both are given", f"rootlet provision {device}", Exit.USAGE
        )
    where = folder or project.find()
    if where is None:
        raise Failure("there is no project here", f"no {project.FILE} in this folder nor above it", "rootlet new NAME",
                      Exit.USAGE)  # fmt: skip
    loaded = project.load(where, fleet=fleet, secret_cmd=secret_cmd)
    if device is None and not everything and fleet is None and len(loaded.devices) > 1:
        names = ", ".join(found.id for found in loaded.devices[:10])
        commands = "  or  ".join(["rootlet provision --all", f"rootlet provision {loaded.devices[0].id}"])
        because = f"none was named; there are {names}"
        raise Failure(f"{loaded.name} has {len(loaded.devices)} devices", because, commands, Exit.USAGE)
    several = (everything or fleet is not None) and device is None and loaded.devices
    wanted = loaded.devices if several else (loaded.device(device),)
    encrypted = (loaded.ca_dir / "ca.key.pem").exists() and ca.is_encrypted(loaded.ca_dir)
    options = steps.Options(renew, days, jobs, _passphrase(passphrase_file, wanted=encrypted, new=False))
    if sys.stderr.isatty() and len(wanted) > 1:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

        columns = ("provisioning", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
        with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
            task = bar.add_task("", total=len(wanted))
            report = steps.run(loaded, wanted, options, typer.echo, lambda: bar.advance(task))
    else:
        report = steps.run(loaded, wanted, options, typer.echo)
    for word in ("made", "renewed", "changed", "kept"):
        if count := report.counts.get(word):
            typer.echo(f"{word:<12} {count if several else wanted[0].id}")
    typer.echo(f"files        {loaded.out(wanted[0].id).parent if several else loaded.out(wanted[0].id)}")
    typer.echo(f"manifest     {report.manifest}")
    for note in report.notes:
        typer.echo(f"note         {note}")
    for warning in report.warnings:
        typer.echo(f"warning      {warning}", err=True)
