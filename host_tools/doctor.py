"""Runs every check of a set-up at once, under one deadline, and tells each result as a row."""

import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from host_tools import find_board
from host_tools.certinfo import printable
from host_tools.failure import Exit, Failure

TIMEOUT_S = 30.0
_MOST_DEVICES = 200
_MOST_GOOD, _MOST_BAD = 12, 20
Status = Literal["ok", "problem", "skip"]


@dataclass(frozen=True)
class Row:
    """One result. `status`: "ok", "problem", or "skip" for what was not looked at or is not needed.

    `check`: what was looked at, a word or two. `fact`: what was seen. `fix`: the command or edit that helps, "" none.
    """

    status: Status
    check: str
    fact: str
    fix: str = ""


@dataclass(frozen=True)
class Device:
    """A device of the project.

    `config`: its configuration, every key present, secrets in it; None where it cannot be used, and `fault` says why.
    `out`: its provisioned folder, or None. `serial`: USB serial number, or None.
    """

    id: str
    config: dict[str, Any] | None = field(repr=False)
    out: Path | None = None
    serial: str | None = None
    fault: Failure | None = None


@dataclass(frozen=True)
class Setup:
    """What there is to look at.

    `project`: folder of a project, or None. `fault`: why it or config.json cannot be used. `left_out`: how many devices
    are not looked at, because they are so many. `named`: whether a device was named. `port`: as given.
    `ask`: whether boards may be stopped and asked. `network`: whether something may leave this machine.
    `ports`: the serial ports, see find_board.connected.
    """

    folder: Path
    ca_dir: Path
    project: Path | None = None
    fault: Failure | None = None
    devices: tuple[Device, ...] = ()
    left_out: int = 0
    named: bool = False
    port: str | None = None
    ask: bool = False
    network: bool = False
    ports: find_board.Ports = find_board.serial_ports


Check = Callable[[Setup], Iterable[Row]]


def setup(
    folder: Path,
    device: str | None = None,
    *,
    port: str | None = None,
    ask: bool = False,
    network: bool = False,
    ports: find_board.Ports = find_board.serial_ports,
) -> Setup:
    """What a folder holds: a project, or a config.json and a ca-data.

    Args: folder: it or a folder under it. device: only this one of its devices. For the others, see Setup.
    Raises: Failure (usage) where the device is not known.
    """
    found = Setup(folder, folder / "ca-data", port=port, ask=ask, network=network, ports=ports)
    rest: dict[str, Any] = _project(folder, device) or _plain(folder, device)
    return Setup(**{**found.__dict__, **rest, "named": device is not None})


def _project(folder: Path, device: str | None) -> dict[str, Any] | None:
    import importlib

    try:
        project = importlib.import_module("host_tools.project")
    except ModuleNotFoundError:
        return None
    where = project.find(folder)
    if where is None:
        return None
    try:
        loaded = project.load(where)
    except Failure as failure:
        return {"folder": where, "project": where, "ca_dir": where / "ca-data", "fault": failure}
    chosen = [loaded.device(device)] if device is not None else list(loaded.devices)
    devices = tuple(_device(one, loaded.out(one.id)) for one in chosen[:_MOST_DEVICES])
    return {
        "folder": loaded.folder,
        "project": loaded.folder,
        "ca_dir": loaded.ca_dir,
        "devices": devices,
        "left_out": len(chosen) - len(devices),
    }


def _device(one: Any, out: Path) -> Device:
    """A device of the project; a configuration that cannot be used, or wants a secret that is absent, is its fault."""
    from rootlet import config
    from rootlet.errors import RootletError

    try:
        return Device(one.id, config.check(one.config), out, one.serial)
    except RootletError as error:
        fault = Failure(f"the configuration of {one.id} is wrong", error.fact, error.fix)
    except Failure as failure:
        fault = failure
    return Device(one.id, None, out, one.serial, fault)


def _plain(folder: Path, device: str | None) -> dict[str, Any]:
    from rootlet import config
    from rootlet.errors import RootletError

    path = folder / "config.json"
    rest: dict[str, Any] = {}
    if path.is_file():
        try:
            settings: dict[str, Any] = config.load(str(path))
            rest["devices"] = (Device(settings["device"], settings),)
        except RootletError as error:
            rest["fault"] = Failure(f"{path} is wrong", error.fact, error.fix)
    ids = [one.id for one in rest.get("devices", ())]
    if device is not None and device not in ids and "fault" not in rest:
        because = f"here is only {ids[0]}" if ids else f"there is no project and no config.json in {folder}"
        raise Failure(f"there is no device '{device}'", because, "rootlet doctor", Exit.USAGE)
    return rest


def run(found: Setup, checks: Iterable[tuple[str, Check]], timeout_s: float = TIMEOUT_S) -> list[Row]:
    """Run the checks side by side.

    Args: checks: (name, function) each; the rows come in this order. timeout_s: for all together, seconds.
    A check that fails or does not end is a row too: nothing is raised.
    """
    table = list(checks)
    answers: queue.SimpleQueue[tuple[int, list[Row]]] = queue.SimpleQueue()

    def one(index: int, name: str, check: Check) -> None:
        answers.put((index, _rows(found, name, check)))

    for index, (name, check) in enumerate(table):
        # A daemon: a check that hangs must not keep the command from ending.
        threading.Thread(target=one, args=(index, name, check), daemon=True).start()
    done: dict[int, list[Row]] = {}
    end = time.monotonic() + timeout_s
    while len(done) < len(table):
        try:
            index, rows = answers.get(timeout=max(0, end - time.monotonic()))
        except queue.Empty:
            break
        done[index] = rows
    late = f"no answer in {timeout_s:g} s"
    return [
        row
        for index, (name, _) in enumerate(table)
        for row in _fewer(done.get(index, [Row("problem", name, late, f"rootlet doctor --timeout {timeout_s * 4:g}")]))
    ]


def _fewer(rows: list[Row]) -> Iterator[Row]:
    """What a person can read: of many good rows their number, of many problems the first."""
    counts: dict[tuple[str, str], int] = {}
    for row in rows:
        counts[row.check, row.status] = counts.get((row.check, row.status), 0) + 1
    shown: dict[tuple[str, str], int] = {}
    for row in rows:
        kind = row.check, row.status
        most = _MOST_BAD if row.status == "problem" else _MOST_GOOD
        shown[kind] = shown.get(kind, 0) + 1
        if counts[kind] <= most or (row.status == "problem" and shown[kind] <= most):
            yield row
        elif shown[kind] == counts[kind]:
            more = f"and {counts[kind] - most} more" if row.status == "problem" else f"{counts[kind]} are so"
            yield Row(row.status, row.check, more)


def _rows(found: Setup, name: str, check: Check) -> list[Row]:
    rows: list[Row] = []
    try:
        rows.extend(check(found))
    except Failure as failure:
        rows.append(Row("problem", name, f"{failure.what}; {failure.because}", failure.try_))
    except Exception as error:
        # One check that is wrong must not hide what the others found; its text might hold anything, so it is not shown.
        trace = error.__traceback__
        while trace and trace.tb_next:
            trace = trace.tb_next
        where = f"{Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "?"
        rows.append(Row("problem", name, f"the check itself failed ({type(error).__name__} at {where})"))
    return rows


def bad(rows: Iterable[Row]) -> bool:
    """Whether there is a problem."""
    return any(row.status == "problem" for row in rows)


def as_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The rows, ready for JSON."""
    return [asdict(row) for row in rows]


def text(rows: list[Row], encoding: str | None = "utf-8") -> str:
    """A line each, aligned, the fix under it; plain ASCII marks where `encoding` has no others."""
    return "\n".join(_lines(rows, _marks(encoding)))


def _marks(encoding: str | None) -> dict[Status, str]:
    plain = "utf" not in (encoding or "").lower()
    return {"ok": "ok" if plain else "✓", "problem": "XX" if plain else "✗", "skip": "-"}


def _lines(rows: list[Row], marks: dict[Status, str]) -> Iterator[str]:
    wide = max((len(row.check) for row in rows), default=0)
    mark = max(len(one) for one in marks.values())
    for row in rows:
        yield printable(f"{marks[row.status]:<{mark}} {row.check:<{wide}}  {row.fact[:400]}")
        if row.fix:
            yield printable(f"{'':<{mark}} {'':<{wide}}  try: {row.fix[:400]}")
