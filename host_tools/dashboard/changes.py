"""What has happened between two status messages of a device, in words."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from host_tools.dashboard import plain
from host_tools.readings import short, whole

KINDS = {
    "online": "came online",
    "offline": "went offline",
    "restart": "started anew",
    "crash": "started anew after a crash",
    "reconnect": "connected again",
    "version": "runs other firmware",
    "rolled_back": "went back to the version before",
    "trouble": "reports trouble",
    "trouble_gone": "reports no trouble any more",
    "certificate": "its certificate ends soon, has ended, or was renewed",
    "lost": "readings have not arrived",
    "dropped": "the outbox had no room for readings",
}
_CRASHES = ("crash", "watchdog", "safe")
_OUTBOX = ("depth", "dropped")
_CERT_DAYS = (30, 7, 0)


@dataclass(frozen=True, slots=True)
class Facts:
    """What a status says, as far as it could be understood; what it does not say is None, 0 or empty."""

    boots: int | None = None
    uptime: float | None = None
    reset: str = ""
    crashes: int = 0
    version: str = ""
    tree: str = ""
    rolled_back: int | None = None
    cert_days: int | None = None
    outbox: dict[str, int] | None = None
    reconnects: dict[str, int] = field(default_factory=dict)
    rssi: int | None = None
    handshake_ms: int | None = None
    broker: str = ""
    tls: list[str] | None = None
    trouble: tuple[str, str] | None = None
    last_error: tuple[str, str] | None = None

    @property
    def failures(self) -> tuple[tuple[str, str], ...]:
        """What went wrong, as (code, fact)."""
        return tuple(row for row in (self.trouble, self.last_error) if row)

    @property
    def connection(self) -> tuple[int | None, int]:
        """Differs for each connection, as far as the device tells."""
        return self.boots, sum(self.reconnects.values())


def facts(said: dict[Any, Any]) -> Facts:
    """A status object (docs/telemetry.md), of which nothing is taken for granted."""

    def text(key: str, longest: int = plain.NAME) -> str:
        found = said.get(key)
        return short(found, longest) if isinstance(found, str) else ""

    def number(key: str) -> int | None:
        found = said.get(key)
        return found if whole(found) else None

    outbox = said.get("outbox")
    uptime = plain.number(said.get("uptime_s"))
    return Facts(
        boots=number("boots"),
        uptime=max(0, uptime) if uptime is not None else None,
        reset=text("reset"),
        crashes=plain.count(said.get("crashes")),
        version=text("version"),
        tree=text("tree"),
        rolled_back=number("rolled_back"),
        cert_days=number("cert_days"),
        outbox={key: plain.count(outbox.get(key)) for key in ("depth", "dropped")}
        if isinstance(outbox, dict)
        else None,
        reconnects=plain.codes(said.get("reconnects")),
        rssi=number("rssi"),
        handshake_ms=number("handshake_ms"),
        broker=text("broker", plain.TEXT),
        tls=plain.pair(said.get("tls")),
        trouble=plain.failure(said.get("trouble")),
        last_error=plain.failure(said.get("last_error")),
    )


def restarted(old: Facts, new: Facts) -> bool:
    """Whether the device has started between two statuses."""
    if old.boots is not None and new.boots is not None:
        return old.boots != new.boots
    return old.uptime is not None and new.uptime is not None and new.uptime < old.uptime


def ended(old: Facts, new: Facts) -> dict[str, int]:
    """Connections that ended or failed between two statuses, by error code."""
    before = {} if restarted(old, new) else old.reconnects
    more = {code: n - before.get(code, 0) for code, n in new.reconnects.items()}
    return {code: n for code, n in more.items() if n > 0}


def changes(old: Facts, new: Facts) -> Iterator[tuple[str, str]]:
    """(kind, text) of what has happened between two statuses that said "online"."""
    anew = restarted(old, new)
    if anew:
        crash = new.reset in _CRASHES
        why = ": ".join(filter(None, new.last_error)) if crash and new.last_error else ""
        yield "crash" if crash else "restart", ", ".join(filter(None, (new.reset, why)))
    if codes := ended(old, new):
        yield "reconnect", ", ".join(f"{n} {code}" if n > 1 else code for code, n in codes.items())
    if old.version and new.version and old.version != new.version:
        yield "version", f"{old.version} → {new.version}"
    if old.tree and new.tree and old.tree != new.tree:
        yield "version", f"tree {old.tree} → {new.tree}"
    if new.rolled_back is not None and new.rolled_back != old.rolled_back:
        yield "rolled_back", f"version {new.rolled_back} did not work"
    if new.trouble and new.trouble != old.trouble:
        yield "trouble", ": ".join(filter(None, new.trouble))
    if old.trouble and not new.trouble:
        yield "trouble_gone", old.trouble[0]
    yield from _certificate(old.cert_days, new.cert_days)
    before = old.outbox["dropped"] if old.outbox and not anew else 0
    if new.outbox and new.outbox["dropped"] > before:
        yield "dropped", f"{new.outbox['dropped'] - before} readings"


def _certificate(old: int | None, new: int | None) -> Iterator[tuple[str, str]]:
    if old is None or new is None:
        return
    if new > old + 1:
        yield "certificate", f"renewed, {new} days left"
    elif any(old > days >= new for days in _CERT_DAYS):
        yield "certificate", f"{new} days left" if new > 0 else "it has ended" if new < 0 else "it ends today"
