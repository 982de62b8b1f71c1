"""What a TLS handshake costs on a board, by kind of key: figures that were measured, with where they come from.

To add a measurement, append a Row: boards and key combinations without one are shown as "not measured".
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from host_tools import boards


@dataclass(frozen=True)
class Row:
    """One measured full, verified handshake.

    `chain`: kinds of key from the server's up to the root's. `device`: kind of the board's own key for mutual TLS, or
    None. `seconds`: lowest and highest. `peak_kb`, `held_kb`: heap that Mbed TLS takes during and after it, KB.
    `how`: "emulated" or "hardware".
    """

    board: str
    chain: tuple[str, ...]
    device: str | None
    seconds: tuple[float, float]
    peak_kb: float
    held_kb: float
    how: str
    firmware: str
    date: str
    note: str


@dataclass(frozen=True)
class Profile:
    """Kinds of key that go together. `last_day`: no date of the CA, and so of nothing it issues, may be later."""

    ca: str
    server: str
    device: str
    last_day: str | None = None


PROFILES = {
    "strong": Profile("p256", "p256", "p256"),
    # NIST SP 800-131A rev. 2 and SP 800-57 part 1 rev. 5 let 112-bit strength, which RSA-2048 has, run out with 2030.
    "fast": Profile("rsa2048", "rsa2048", "p256", last_day="2029-12-31"),
}
DEFAULT = "strong"


def _rp2040(chain: Sequence[str], device: str | None, low: float, high: float, peak: float, held: float) -> Row:
    note = "emulated RP2040 at 125 MHz, 0 to 50 cycles a flash-cache miss; not validated on hardware"
    return Row(
        "pico_w", tuple(chain), device, (low, high), peak, held, "emulated", "MicroPython 1.28.0", "2026-11-21", note
    )


ROWS: tuple[Row, ...] = (
    _rp2040(["p256", "p256"], None, 1.16, 1.49, 28.0, 23.9),
    _rp2040(["rsa2048", "rsa2048", "rsa4096"], None, 1.28, 1.39, 36.6, 25.7),
    _rp2040(["rsa2048", "rsa2048"], None, 0.69, 0.81, 29.9, 24.7),
    _rp2040(["p256", "p256"], "p256", 1.27, 1.64, 29.6, 24.8),
    _rp2040(["rsa2048", "rsa2048"], "p256", 0.81, 0.96, 31.8, 25.8),
    _rp2040(["rsa2048", "rsa2048"], "rsa2048", 4.86, 4.97, 35.8, 28.6),
)


def find(board: str, chain: Sequence[str], device: str | None, rows: Sequence[Row] = ROWS) -> Row | None:
    """The figures for a board and kinds of key; the newest on hardware comes before any emulated one."""
    hits = [row for row in rows if (row.board, row.chain, row.device) == (board, tuple(chain), device)]
    return max(hits, key=lambda row: (row.how == "hardware", row.date), default=None)


Combinations = dict[str, tuple[str, str, str | None]]
"""Label -> kinds of key of CA, server and device (None: the server's certificate alone)."""


def kind_of(key: str) -> str:
    """The kind of a key, as in x509_build.KEY_TYPES, from the name that certinfo has for it: P-256 is p256."""
    return key.lower().replace("-", "")


def combinations(kind: str, key: str | None, ca_key: str | None, profile: str = "") -> Combinations:
    """The handshakes that a certificate takes part in.

    Args: kind: "ca", "server" or "device"; key: its kind of key; ca_key, profile: those of its CA, if known.
    """
    found: Combinations = {}
    if kind == "server" and key and ca_key:
        found[f"mutual TLS with a {PROFILES[profile].device} device"] = (ca_key, key, PROFILES[profile].device)
        found["without a device certificate"] = (ca_key, key, None)
    elif kind == "device" and key and ca_key:
        found[f"mutual TLS with a {PROFILES[profile].server} server"] = (ca_key, PROFILES[profile].server, key)
    else:
        for name, p in PROFILES.items():
            here = " (this CA)" if name == profile and key == p.ca else ""
            found[f"mutual TLS, {name}: CA {p.ca}, server {p.server}, device {p.device}{here}"] = (
                p.ca, p.server, p.device,
            )  # fmt: skip
        if profile and key and key != PROFILES[profile].ca:
            p = PROFILES[profile]
            found[f"mutual TLS, this CA: {key}, server {p.server}, device {p.device}"] = (key, p.server, p.device)
    return found


def figures(wanted: Combinations, rows: Sequence[Row] = ROWS) -> list[dict[str, Any]]:
    """For each known board what the handshakes cost, ready for JSON; `measured` is None where nobody has measured."""
    found = []
    for board in boards.ids():
        for ca, server, device in wanted.values():
            row = find(board, (server, ca), device, rows)
            found.append(
                {"board": board, "ca": ca, "server": server, "device": device, "measured": asdict(row) if row else None}
            )
    return found


def lines(wanted: Combinations, rows: Sequence[Row] = ROWS) -> list[str]:
    """The table for a person: boards with figures for any of the combinations, those without, and the sources."""
    if any(server.startswith("ed") for _, server, _ in wanted.values()):
        return ["handshake    none on a board: Mbed TLS lacks Ed25519 and Ed448; for hosts only"]
    out, silent = [], []
    sources: dict[str, None] = {}
    for board in boards.ids():
        hits = {label: find(board, (server, ca), device, rows) for label, (ca, server, device) in wanted.items()}
        if not any(hits.values()):
            silent.append(board)
            continue
        out.append(f"             {board}")
        for label, row in hits.items():
            out.append(f"               {label}: {_cost(row)}")
            if row:
                sources[f"{row.note} ({row.firmware}, {row.date})"] = None
    if silent:
        out.append(f"             not measured: {', '.join(silent)}")
    out += [f"             source: {source}" for source in sources]
    return ["handshake    full TLS 1.2, verified by the board: time, and heap of Mbed TLS at its peak", *out]


def _cost(row: Row | None) -> str:
    if row is None:
        return "not measured"
    return f"{row.seconds[0]:.2f} to {row.seconds[1]:.2f} s, {row.peak_kb:.1f} KB"
