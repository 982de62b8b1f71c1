"""A fleet of simulated devices, spread over processes, and what came of them."""

import contextlib
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from host_tools import limits
from host_tools.failure import Exit, Failure
from host_tools.fleet_report import Report
from host_tools.paths import FIRMWARE, ROOT

MOST = 20000
_READY_S = 60
_A_SECOND = 100  # devices switched on in a second
_LAST_WORDS = 4096


class _Worker:
    """One process: what it said last, and the thread that listens to it."""

    def __init__(self, job: dict[str, Any], changed: threading.Condition) -> None:
        self.now: dict[str, Any] = {}
        self.end: dict[str, Any] | None = None
        self.ready = False
        self.gone = False
        self.words = b""
        self._changed = changed
        self._process = subprocess.Popen(
            [sys.executable, "-m", "host_tools.sim.fleet_worker"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=ROOT,
            env=_environment(),
            start_new_session=True,  # Ctrl-C is for us: the devices are to end in order
        )
        self._tell(json.dumps(job))
        self._threads = [threading.Thread(target=read, daemon=True) for read in (self._read, self._read_errors)]
        for thread in self._threads:
            thread.start()

    def _tell(self, line: str) -> None:
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):  # its end is seen by the reader
            self._process.stdin.write(line.encode() + b"\n")
            self._process.stdin.flush()

    def _read(self) -> None:
        assert self._process.stdout is not None  # noqa: S101
        for line in self._process.stdout:
            said = json.loads(line)
            kind = said.pop("kind")
            with self._changed:
                if kind == "ready":
                    self.ready = True
                else:
                    self.now = said
                if kind == "end":
                    self.end = said
                self._changed.notify_all()
        with self._changed:
            self.gone = True
            self._changed.notify_all()

    def _read_errors(self) -> None:
        assert self._process.stderr is not None  # noqa: S101
        for line in self._process.stderr:
            self.words = (self.words + line)[-_LAST_WORDS:]

    def stop(self) -> None:
        """Ask it to end in order."""
        self._tell("stop")

    def close(self) -> None:
        """End it, if it has not ended, and what listens to it."""
        assert self._process.stdin is not None  # noqa: S101
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        for thread in self._threads:
            thread.join(5)
        for stream in (self._process.stdout, self._process.stderr):
            if stream:
                stream.close()


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(FIRMWARE)])}


class Fleet:
    """Simulated devices that connect with mutual TLS and publish; entering starts them, leaving ends them.

    Args:
        identities: device id to the PEM file of its certificate and key (fleet_certs.issue).
        host, port: the broker, by a name or address in its certificate. ca: PEM file of the CA that issued that.
        brokers: more of them, to which devices fail over; the first ones are spread over all. mqtt: more settings.
        every_s: seconds between two readings of a device. processes: Python processes they are spread over.
        boot: number of this start, in each reading. drain_s: seconds that devices have at the end for what is not
            acknowledged yet.
    Raises: Failure where so many do not fit, or a process ends by itself.
    """

    def __init__(
        self,
        identities: dict[str, Path],
        host: str,
        port: int,
        ca: Path,
        *,
        every_s: float = 5,
        processes: int = 2,
        boot: int = 1,
        drain_s: float = 20,
        brokers: Sequence[tuple[str, int]] = (),
        mqtt: dict[str, Any] | None = None,
    ) -> None:
        count = len(identities)
        if not 0 < count <= MOST or not 0 < processes <= count:
            because = f"{count} devices in {processes} processes"
            raise Failure("no such fleet", because, f"1 to {MOST} devices", Exit.USAGE)
        limits.need_files(-(-count // processes), f"{count} devices")
        self.count = count
        self.boot = boot
        self._drain_s = drain_s
        self._changed = threading.Condition()
        self._workers: list[_Worker] = []
        common = {
            "ca": str(ca.resolve()),
            "settings": settings(host, port, brokers, mqtt),
            "every_s": every_s,
            "boot": boot,
            "drain_s": drain_s,
        }
        rows = [
            [name, str(path.resolve()), i / _A_SECOND, i % (1 + len(brokers))]
            for i, (name, path) in enumerate(identities.items())
        ]
        self._jobs = [{**common, "devices": rows[i::processes]} for i in range(processes)]

    def __enter__(self) -> Self:
        try:
            self._workers = [_Worker(job, self._changed) for job in self._jobs]
            self._wait(lambda: all(worker.ready for worker in self._workers), _READY_S)
        except BaseException:
            self.close()
            raise
        self._began = time.time()
        return self

    def _wait(self, reached: Callable[[], bool], timeout_s: float) -> bool:
        """Wait until it is so. Raises Failure where a process ends by itself."""
        with self._changed:
            return self._changed.wait_for(lambda: self.check() or reached(), timeout_s)

    def check(self) -> bool:
        """False; raises Failure where a process has ended by itself."""
        for worker in self._workers:
            if worker.gone and worker.end is None:
                last = worker.words.decode(errors="replace").strip().splitlines() or ["it ended without a word"]
                raise Failure("a process of the fleet ended by itself", last[-1][:300], "the same with --debug")
        return False

    def state(self) -> dict[str, Any]:
        """The sums of what the processes said last: connected, made, published, acknowledged, attempts, failures, …"""
        total: Counter[str] = Counter()
        failures: Counter[str] = Counter()
        with self._changed:
            for worker in self._workers:
                numbers = dict(worker.now)
                failures.update(numbers.pop("failures", {}))
                total.update({k: v for k, v in numbers.items() if isinstance(v, int) and k != "memory"})
        return {**total, "failures": dict(failures)}

    def wait_for(self, reached: Callable[[dict[str, Any]], bool], timeout_s: float) -> dict[str, Any]:
        """Wait until the state is such. Returns it. Raises: TimeoutError; Failure where a process ends by itself."""
        if not self._wait(lambda: bool(self._workers[0].now) and reached(self.state()), timeout_s):
            raise TimeoutError(f"after {timeout_s:g} s: {self.state()}")
        return self.state()

    def stop(self) -> Report:
        """End the devices in order: no more readings, the last acknowledgements, a goodbye. Raises Failure."""
        seconds = time.time() - self._began
        for worker in self._workers:
            worker.stop()
        if not self._wait(lambda: all(worker.end for worker in self._workers), self._drain_s + 10):
            raise Failure("the fleet does not end", str(self.state())[:200], "the same with --debug")
        ends = [worker.end or {} for worker in self._workers]
        histogram: Counter[int] = Counter()
        acked: dict[str, list[list[int]]] = {}
        for end in ends:
            histogram.update({int(second): n for second, n in end["histogram"]})
            acked.update(end["acked"])
        state = self.state()
        state = {k: state.get(k, 0) for k in _REPORTED} | {"failures": state["failures"]}
        return Report(
            self.count, seconds, self._began, state, histogram, [s for end in ends for s in end["handshake_s"]],
            sum(end["memory"] for end in ends), int(sum(end["per_device"] for end in ends) / len(ends)), acked,
        )  # fmt: skip

    def close(self) -> None:
        """End all processes at once."""
        for worker in self._workers:
            worker.close()

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self.close()


_REPORTED = (
    "connected", "made", "published", "again", "acknowledged", "attempts", "handshakes", "waiting", "dropped",
)  # fmt: skip


def settings(
    host: str, port: int, brokers: Sequence[tuple[str, int]] = (), mqtt: dict[str, Any] | None = None
) -> dict[str, Any]:
    """A configuration as on a board, with the firmware's defaults. Raises Failure for what a board would refuse."""
    from rootlet import config
    from rootlet.errors import RootletError

    try:
        return dict(
            config.check(
                {
                    "device": "sim",
                    "wifi": {"networks": [{"ssid": "sim"}], "country": "XX"},
                    "mqtt": {
                        "host": host,
                        "port": port,
                        "brokers": [{"host": other, "port": at} for other, at in brokers],
                        **(mqtt or {}),
                    },
                    "sensors": [{"kind": "internal_temperature", "name": "chip"}],
                }
            )
        )
    except RootletError as e:
        raise Failure("no such broker", e.fact, e.fix, Exit.USAGE) from None
