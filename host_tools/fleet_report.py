"""What a simulated fleet did: figures, a histogram of connection attempts, and the rate the schedule allows."""

import math
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from rootlet.backoff import Backoff

_STEP_S = 0.05
_HORIZON_S = 60
_BAR = 40
_MOST_ROWS = 90


@dataclass
class Report:
    """All of it. histogram: second of Unix time to attempts. acked: device to ranges of sequence numbers."""

    devices: int
    seconds: float
    began: float
    state: dict[str, Any]
    histogram: Counter[int]
    handshakes: list[float]
    memory_bytes: int
    per_device_bytes: int
    acked: dict[str, list[list[int]]] = field(repr=False)
    received: dict[str, Any] | None = None

    def lost(self) -> str:
        """What did not arrive as it should, in words; empty where all is well."""
        seen = self.received or {}
        found = [
            (max(0, self.devices - self.state["handshakes"]), "devices never connected"),
            (self.state["dropped"], "readings dropped by full outboxes"),
            (self.state["waiting"], "readings not acknowledged at the end"),
            (seen.get("missing", 0), "acknowledged readings not seen by the observer"),
            (len(seen.get("too_slow", ())), "clients that the broker dropped messages for"),
        ]
        return ", ".join(f"{n} {what}" for n, what in found if n)

    def facts(self) -> dict[str, Any]:
        """For --json."""
        ordered = sorted(self.handshakes)
        return {
            "devices": self.devices,
            "seconds": round(self.seconds, 1),
            **{k: v for k, v in self.state.items() if k not in ("handshakes", "connected")},
            "handshake_s": {
                "p50": percentile(ordered, 50), "p99": percentile(ordered, 99), "count": self.state["handshakes"],
            },
            "attempts_a_second": {str(int(s - int(self.began))): n for s, n in sorted(self.histogram.items())},
            "most_attempts_a_second": max(self.histogram.values(), default=0),
            "memory_bytes": self.memory_bytes,
            "memory_bytes_a_device": self.per_device_bytes,
            **({"observer": self.received} if self.received is not None else {}),
        }  # fmt: skip

    def lines(self) -> list[str]:
        """For a person."""
        facts = self.facts()
        shake = facts["handshake_s"]
        failures = ", ".join(f"{n} {code}" for code, n in sorted(facts["failures"].items())) or "none"
        lines = [
            f"{self.devices} devices for {facts['seconds']} s",
            f"readings: {facts['made']} made, {facts['acknowledged']} acknowledged, {facts['dropped']} dropped, "
            f"{facts['waiting']} still waiting; {facts['again']} sent again",
            f"connections: {facts['attempts']} attempts, at most {facts['most_attempts_a_second']} in a second; "
            f"ended or failed: {failures}",
            f"handshakes: {shake['count']}, median {shake['p50'] * 1000:.0f} ms, "
            f"99 % within {shake['p99'] * 1000:.0f} ms",
            f"memory: {self.memory_bytes / 1e6:.0f} MB in all, {self.per_device_bytes / 1e3:.0f} KB a device",
        ]
        if self.received is not None:
            lines.append(
                "observer: {readings} readings received, {missing} acknowledged ones missing, {twice} received "
                "more than once".format(**self.received)
            )
            lines += [f"{name}: {n} readings received" for name, n in self.received.get("real", {}).items()]
        return [*lines, "attempts a second, from the start:", *histogram_lines(self.histogram, int(self.began))]


def histogram_lines(histogram: Counter[int], zero: int) -> list[str]:
    """One line a second with attempts, as a bar; the seconds without any are left out."""
    most = max(histogram.values(), default=1)
    rows = sorted(histogram.items())
    left = max(0, len(rows) - _MOST_ROWS)
    lines = [f"{s - zero:6} s {n:6} {'#' * math.ceil(n * _BAR / most)}" for s, n in rows[left:]]
    return [f"  ({left} seconds before are left out)", *lines] if left else lines


def percentile(ordered: list[float], percent: float) -> float:
    """Of a sorted list, by the nearest rank; 0 of an empty one."""
    if not ordered:
        return 0.0
    return round(ordered[min(len(ordered) - 1, math.ceil(len(ordered) * percent / 100) - 1)], 4)


def expected_peak() -> float:
    """The share of a fleet that tries to connect in the busiest second after all lost a broker that stays away.

    Each pause of rootlet.backoff is uniform up to its bound, so the density of the n-th attempt is that of the one
    before, spread over the n-th bound; their sum is the rate. The largest mean of the sum over one second is the share.
    """
    steps = int(_HORIZON_S / _STEP_S)
    density = [1 / _STEP_S] + [0.0] * (steps - 1)  # all at once: the moment of the loss
    rate = [0.0] * steps
    backoff = Backoff(rand=lambda bits: 0)
    while any(density):
        least, bound = 0.1, backoff.bound() / 1000
        backoff.failed()
        density = _spread(density, int(least / _STEP_S), int(bound / _STEP_S))
        rate = [a + b for a, b in zip(rate, density, strict=True)]
        if bound >= _HORIZON_S:
            break
    second = int(1 / _STEP_S)
    return max(sum(rate[i : i + second]) * _STEP_S for i in range(steps - second))


def _spread(density: list[float], least: int, most: int) -> list[float]:
    """The density after a uniform pause of `least` to `most` steps."""
    total, sums = 0.0, [0.0]
    for value in density:
        total += value
        sums.append(total)
    return [
        (sums[max(0, i - least + 1)] - sums[max(0, i - most + 1)]) / (most - least) for i in range(len(density))
    ]  # fmt: skip


def attempts_cap(count: int) -> int:
    """The most attempts a second that `count` devices may make: the expected peak and four standard deviations."""
    expected = expected_peak() * count
    return math.ceil(expected + 4 * math.sqrt(expected))
