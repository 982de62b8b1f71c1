"""Runs a simulated fleet for a person: certificates, a broker where none is given, progress, report."""

import signal
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_tools import ca, fleet_certs, limits
from host_tools.broker import Broker
from host_tools.failure import Exit, Failure
from host_tools.fleet import MOST, Fleet
from host_tools.fleet_observer import Observer
from host_tools.fleet_report import Report
from host_tools.paths import BUILD
from host_tools.safe_write import make_directory
from host_tools.sim.board import VirtualBoard
from host_tools.sim.real_boards import MOST as MOST_REAL
from host_tools.sim.real_boards import real_boards

_LOOK_S = 1
_TELL_S = 60


@dataclass(frozen=True)
class Elsewhere:
    """A broker that runs already. roots: PEM file of its CA. authority: whose devices it lets in."""

    host: str
    port: int
    roots: Path
    authority: ca.Authority


def run(
    say: Callable[[str], None],
    count: int,
    *,
    broker: Elsewhere | None = None,
    seconds: float | None = None,
    every_s: float = 10,
    real: int = 0,
) -> Report:
    """Run it, for so many seconds or until Ctrl-C. Must be called in the main thread.

    Args: say: takes each line for the user. count: simulated devices. broker: None starts one here, with a CA of its
        own, and an observer that checks that every acknowledged reading is handed on. every_s: between two readings of
        a device. real: virtual boards beside them.
    Raises: Failure.
    """
    if not 1 <= count <= MOST or not 0 <= real <= MOST_REAL:
        because = f"{count} devices and {real} virtual boards"
        raise Failure("no such fleet", because, f"--count 1 to {MOST}, --real 0 to {MOST_REAL}", Exit.USAGE)
    limits.need_files(count, f"{count} devices")
    work = BUILD / "fleet"
    make_directory(work)
    with ExitStack() as stack:
        ended = stack.enter_context(_until_ctrl_c())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="run-", dir=work)))
        own = None
        if broker is None:
            broker, own, observer = _own(stack, folder)
            say(f"{own.engine} on localhost:{own.port}; watch it with:")
            say(
                f"  rootlet watch localhost:{own.port} --ca {broker.roots} --cert {observer.cert_pem} "
                f"--key {observer.key_pem}"
            )
            seen = stack.enter_context(
                Observer("localhost", own.port, broker.roots, observer.cert_pem, observer.key_pem)
            )
        certificates = folder if own else work
        identities = fleet_certs.issue(broker.authority, fleet_certs.names(count, "sim"), certificates / "devices")
        boards = stack.enter_context(
            real_boards(real, broker.authority, broker.roots, broker.host, broker.port, folder, every_s)
        )
        for name, board in boards.items():
            say(f"  {name} is real MicroPython: mpremote connect {board.port} resume repl")
        fleet = stack.enter_context(
            Fleet(
                identities, broker.host, broker.port, broker.roots, every_s=every_s, processes=min(2, count),
                boot=int(time.time()),
            )
        )  # fmt: skip
        say(f"{count} devices; Ctrl-C ends them in order")
        _follow(say, fleet, boards, ended, seconds)
        say("ending: what is not acknowledged yet is sent first")
        report = fleet.stop()
        if own:
            report.received = seen.settled(report.acked, fleet.boot)
            report.received["real"] = {name: seen.of(name) for name in boards}
            report.received["too_slow"] = own.dropped()
        return report


def _own(stack: ExitStack, folder: Path) -> tuple[Elsewhere, Broker, ca.Issued]:
    authority = ca.init(folder / "ca", subject="/O=Rootlet/CN=Simulated fleet")
    server = authority.issue_server(["localhost"], ips=["127.0.0.1"])
    observer = authority.issue_device("observer")
    own = stack.enter_context(Broker(server.cert_pem, server.key_pem, authority.cert_pem, workdir=folder))
    return Elsewhere("localhost", own.port, authority.cert_pem, authority), own, observer


@contextmanager
def _until_ctrl_c() -> Iterator[threading.Event]:
    """An event that Ctrl-C and SIGTERM set; a second Ctrl-C ends the program at once."""
    ended = threading.Event()

    def end(number: int, _frame: Any) -> None:
        if ended.is_set():
            raise KeyboardInterrupt
        ended.set()

    former = {number: signal.signal(number, end) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield ended
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)


def _follow(
    say: Callable[[str], None],
    fleet: Fleet,
    boards: dict[str, VirtualBoard],
    ended: threading.Event,
    seconds: float | None,
) -> None:
    """A line when the number of connected devices changes, when a board publishes first, and once a minute."""
    silent = dict(boards)
    began = told = time.monotonic()
    before = -1
    while not ended.is_set():
        now = time.monotonic()
        if seconds is not None and now >= began + seconds:
            return
        fleet.check()
        state = fleet.state()
        connected = state.get("connected", 0)
        if connected != before or now >= told + _TELL_S:
            before, told = connected, now
            say(
                f"[{now - began:6.0f} s] {connected} connected, {state.get('acknowledged', 0)} readings acknowledged, "
                f"{state.get('waiting', 0)} waiting"
            )
        for name in [name for name, board in silent.items() if "first reading published" in board.output]:
            say(f"[{now - began:6.0f} s] {name} has published its first reading")
            del silent[name]
        ended.wait(_LOOK_S if seconds is None else min(_LOOK_S, max(0.01, began + seconds - now)))
