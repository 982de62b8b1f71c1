"""What the history keeps, in forms that other programs read: CSV, JSON, line protocol, PostgreSQL's COPY, Parquet.

Everything is written as it is read, a few thousand readings at a time.
"""

import csv
import io
import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from typing import IO, Any

from host_tools.failure import Exit, Failure
from host_tools.history_file import Stored

COLUMNS = ("time", "device", "sensor", "quantity", "value", "text", "unit", "boot", "seq", "received")
MEASUREMENT = "rootlet"
TABLE = "rootlet_reading"
SCHEMA = f"""CREATE TABLE IF NOT EXISTS {TABLE} (
    time timestamptz NOT NULL,
    device text NOT NULL,
    sensor text NOT NULL,
    quantity text,
    value double precision,
    text text,
    unit text,
    boot bigint,
    seq bigint,
    received timestamptz NOT NULL
);
CREATE INDEX IF NOT EXISTS {TABLE}_by_time ON {TABLE} (device, sensor, quantity, time);
"""
_LINES = 2000
_ROW_GROUP = 32_768
_FORMULA = ("=", "+", "-", "@", "\t", "\r")
_UNITS = {"s": 1, "m": 60, "min": 60, "h": 3600, "d": 86400, "w": 604800}
_CONTROLS = re.compile(r"[\x00-\x1f\x7f\x85\u2028\u2029]")


def moment(text: str, now: float) -> float:
    """A time as people write it, in Unix seconds: `2h` (ago; s, min, h, d, w) or ISO 8601, in UTC if it has no offset.

    Raises: Failure for anything else.
    """
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,3})?) ?(s|m|min|h|d|w)", text)
    if found:
        return now - float(found[1]) * _UNITS[found[2]]
    try:
        at = datetime.fromisoformat(text)
        return (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        example = "--since 2h, --since 7d, --since 2026-11-21T08:00:00+01:00"
        raise Failure("that is no time", f"{text[:40]!r}", example, Exit.USAGE) from None


_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def iso(ms: int) -> str:
    """Unix ms as ISO 8601 in UTC."""
    return (_EPOCH + timedelta(milliseconds=ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _cells(row: Stored) -> list[Any]:
    """A reading as a row of COLUMNS; None: nothing there. A number is in `value`, text in `text`."""
    text = isinstance(row.value, str)
    return [
        iso(row.time), row.device, row.sensor, row.quantity, None if text else row.value, row.value if text else None,
        row.unit, row.boot, row.seq, iso(row.received),
    ]  # fmt: skip


def as_csv(rows: Iterable[Stored], for_spreadsheet: bool = False) -> Iterator[str]:
    """RFC 4180 with a header, lines ended by LF, nothing for what is missing: PostgreSQL's COPY … CSV HEADER takes it.

    Args: for_spreadsheet: text that a spreadsheet would take for a formula gets an apostrophe before it; numbers never.
    """
    out = io.StringIO()
    # With CR in its line end the writer quotes one in a cell; PostgreSQL refuses it unquoted.
    write = csv.writer(out, lineterminator="\r\n").writerow
    yield ",".join(COLUMNS) + "\n"
    for row in rows:
        cells = _cells(row)
        if for_spreadsheet:
            cells = ["'" + cell if isinstance(cell, str) and cell.startswith(_FORMULA) else cell for cell in cells]
        write(cells)
        yield out.getvalue()[:-2] + "\n"
        out.seek(0)
        out.truncate()


def as_jsonl(rows: Iterable[Stored]) -> Iterator[str]:
    """One JSON object a line; `value` is a number or text."""
    for row in rows:
        told = row._asdict() | {"time": iso(row.time), "received": iso(row.received)}
        yield json.dumps(told, ensure_ascii=False) + "\n"


_COPY = str.maketrans({"\\": "\\\\", "\t": "\\t", "\n": "\\n", "\r": "\\r", "\b": "\\b", "\f": "\\f", "\v": "\\v"})


def as_copy(rows: Iterable[Stored]) -> Iterator[str]:
    """SQL for psql: a COPY … FROM stdin with its data in PostgreSQL's text format."""
    yield f"COPY {TABLE} ({', '.join(COLUMNS)}) FROM stdin;\n"
    for row in rows:
        cells = ("\\N" if cell is None else str(cell).translate(_COPY) for cell in _cells(row))
        yield "\t".join(cells) + "\n"
    yield "\\.\n"


def _tag(text: str) -> str:
    # Whether a backslash in a tag escapes differs from server to server, and none takes one at the end.
    text = _CONTROLS.sub(" ", text).replace("\\", "/")
    return text.replace(",", "\\,").replace("=", "\\=").replace(" ", "\\ ")


def _field(text: str) -> str:
    return _CONTROLS.sub(" ", text).replace("\\", "\\\\").replace('"', '\\"')


def as_lines(rows: Iterable[Stored]) -> Iterator[str]:
    """InfluxDB line protocol, times in ns: `rootlet,device=…,quantity=…,sensor=…,unit=… value=21.5 17000000000000…`.

    Numbers are the field `value` (always a float, as a field has one type), text is the field `text`. A server keeps
    one point of a series and a time, and devices tell whole seconds: so the second and later readings of one series in
    the same ms are put 1, 2, … ns later. The same reading always gets the same time: sending it again changes nothing.
    Source: docs.influxdata.com/influxdb/v2/reference/syntax/line-protocol
    """
    before, same = None, 0
    for row in rows:
        key = (row.device, row.sensor, row.quantity, row.unit, row.time)
        same = same + 1 if key == before else 0
        before = key
        tags = (("device", row.device), ("quantity", row.quantity), ("sensor", row.sensor), ("unit", row.unit))
        head = MEASUREMENT + "".join(f",{name}={_tag(text)}" for name, text in tags if text)
        field = f'text="{_field(row.value)}"' if isinstance(row.value, str) else f"value={row.value!r}"
        yield f"{head} {field} {row.time * 1_000_000 + same}\n"


def write_parquet(rows: Iterator[Stored], out: IO[bytes]) -> int:
    """Parquet in row groups of 32,768 readings, zstd. Returns how many. Raises: Failure without pyarrow."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ImportError:
        fix = "pip install 'rootlet[parquet]'; or another --format"
        raise Failure("Parquet needs pyarrow", "it is not installed", fix) from None
    time, name = pa.timestamp("ms", tz="UTC"), pa.dictionary(pa.int32(), pa.string())
    kinds = (time, name, name, name, pa.float64(), pa.string(), name, pa.int64(), pa.int64(), time)
    schema = pa.schema(list(zip(COLUMNS, kinds, strict=True)))
    count = 0
    with pq.ParquetWriter(out, schema, compression="zstd") as writer:
        while chunk := list(itertools.islice(rows, _ROW_GROUP)):
            columns = list(zip(*map(_typed, chunk), strict=True))
            arrays = [pa.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]
            writer.write_table(pa.Table.from_arrays(arrays, schema=schema))
            count += len(chunk)
    return count


def _typed(row: Stored) -> list[Any]:
    cells = _cells(row)
    cells[0], cells[-1] = row.time, row.received
    if cells[4] is not None:
        cells[4] = float(cells[4])
    return cells


TEXTS: dict[str, Callable[[Iterable[Stored]], Iterator[str]]] = {
    "csv": as_csv, "jsonl": as_jsonl, "line": as_lines, "copy": as_copy,
}  # fmt: skip
FORMATS = (*TEXTS, "parquet")


def write(rows: Iterator[Stored], form: str, out: IO[bytes], for_spreadsheet: bool = False) -> int:
    """Write readings to a binary file. form: one of FORMATS. Returns how many there were."""
    if form == "parquet":
        return write_parquet(rows, out)
    count = 0

    def counted() -> Iterator[Stored]:
        nonlocal count
        for count, row in enumerate(rows, 1):  # noqa: B007
            yield row

    text = as_csv(counted(), True) if for_spreadsheet else TEXTS[form](counted())
    while chunk := "".join(itertools.islice(text, _LINES)):
        out.write(chunk.encode())
    out.flush()
    return count
