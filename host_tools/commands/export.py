"""`rootlet export`: hands what the history keeps to other programs."""

import os
import sys
import time
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from host_tools.failure import Exit, Failure

if TYPE_CHECKING:
    from collections.abc import Iterator

    from host_tools.history_file import Stored


class Format(StrEnum):
    """The forms of readings."""

    csv = "csv"
    jsonl = "jsonl"
    line = "line"
    parquet = "parquet"
    copy = "copy"


def export(
    *,
    history: Annotated[
        Path | None, typer.Option(help="The file of the history; dashboard-data/history.sqlite by default.")
    ] = None,
    project: Annotated[
        Path | None, typer.Option("--project", help="Folder of a project, whose history it is. Else this folder.")
    ] = None,
    form: Annotated[
        Format | None,
        typer.Option("--format", help="csv by default; line: InfluxDB line protocol; copy: SQL for psql."),
    ] = None,
    device: Annotated[str | None, typer.Option(help="Only of this device.")] = None,
    sensor: Annotated[str | None, typer.Option(help="Only of this sensor.")] = None,
    quantity: Annotated[str | None, typer.Option(help="Only this quantity.")] = None,
    since: Annotated[str | None, typer.Option(metavar="TIME", help="Not before: 2h, 7d, or ISO 8601 (UTC).")] = None,
    until: Annotated[str | None, typer.Option(metavar="TIME", help="Only before.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File, replaced when all is written; else standard output.")
    ] = None,
    schema: Annotated[bool, typer.Option("--schema", help="Print the CREATE TABLE for csv and copy, and end.")] = False,
    for_spreadsheet: Annotated[
        bool, typer.Option("--for-spreadsheet", help="csv: an apostrophe before text that would be a formula.")
    ] = False,
    influx: Annotated[
        str | None, typer.Option(metavar="URL", help="Send line protocol there, by verified HTTPS.")
    ] = None,
    token_file: Annotated[Path | None, typer.Option("--token-file", help="Its first line is the token (0600).")] = None,
    ca: Annotated[Path | None, typer.Option(help="PEM file of the CA of that server; else the system's.")] = None,
) -> None:
    """Export readings from the dashboard's history, also while it runs.

    Example: rootlet export --since 24h --format parquet -o readings.parquet

    Example: rootlet export --influx "https://influx.lan:8086/api/v2/write?org=home&bucket=iot" --token-file token
    """
    from host_tools import export as exporting
    from host_tools.history_file import Wanted, refuse_unknown, stored

    if schema:
        typer.echo(exporting.SCHEMA, nl=False)
        return
    kind = (form or Format.csv).value
    _refuse_mixed(influx, form, output, token_file, ca, for_spreadsheet)
    path, now = history or _of_project(project), time.time()
    first, last = (exporting.moment(text, now) if text else None for text in (since, until))
    if first is not None and last is not None and first >= last:
        because = f"--since {since} is not before --until {until}"
        raise Failure("no reading can be in that time", because, "--since 3h --until 2h", Exit.USAGE)
    wanted = Wanted(device, sensor, quantity, first, last)
    refuse_unknown(path, wanted)
    rows = stored(path, wanted)
    try:
        if influx:
            from host_tools import influx as sending

            count = sending.send(
                sending.target(influx, token_file, ca),
                exporting.as_lines(rows),
                lambda line: typer.echo(line, err=True),
            )
            typer.echo(f"{count} readings sent", err=True)
        elif output:
            typer.echo(f"{_to_file(rows, kind, output, path, for_spreadsheet)} readings in {output}", err=True)
        else:
            _to_stdout(rows, kind, for_spreadsheet)
    except KeyboardInterrupt:
        raise typer.Exit(130) from None
    except BrokenPipeError:  # whoever read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


def _of_project(folder: Path | None) -> Path:
    from host_tools import ports
    from host_tools.history_file import DEFAULT

    found = ports.find_project(folder) if folder else ports.any_project()
    return DEFAULT if found is None else Path(found.folder) / DEFAULT


def _refuse_mixed(
    influx: str | None, form: Format | None, output: Path | None, token: Path | None, ca: Path | None, sheet: bool
) -> None:
    because = ""
    if influx and (output or form not in (None, Format.line)):
        because = "--influx sends line protocol: no -o, no other --format"
    elif not influx and (token or ca):
        because = "--token-file and --ca are for --influx"
    elif sheet and (influx or form not in (None, Format.csv)):
        because = "--for-spreadsheet is for --format csv"
    if because:
        raise Failure("these options do not go together", because, "rootlet export --help", Exit.USAGE)


def _to_file(rows: "Iterator[Stored]", kind: str, output: Path, history: Path, sheet: bool) -> int:
    from host_tools.export import write
    from host_tools.safe_write import streamed

    if output.exists() and history.exists() and output.samefile(history):
        raise Failure("that is the history itself", f"-o {output}", "-o another file", Exit.USAGE)
    with streamed(output) as out:
        return write(rows, kind, out, sheet)


def _to_stdout(rows: "Iterator[Stored]", kind: str, sheet: bool) -> None:
    from host_tools.export import write

    if kind == "parquet" and sys.stdout.isatty():
        raise Failure("Parquet is not for a terminal", "it is binary", "-o readings.parquet", Exit.USAGE)
    write(rows, kind, sys.stdout.buffer, sheet)
