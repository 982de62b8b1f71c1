"""Asks a board about itself, by one call of mpremote; its secrets stay on it."""

import base64
import contextlib
import json
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

from host_tools import deploy
from host_tools.certinfo import printable
from host_tools.failure import Failure
from host_tools.find_board import Found

TIMEOUT_S = 20.0
_RESET_TIMEOUT_S = 10.0
_MARK = "rootlet-board "
_LONGEST = 16384  # of what a board may say

# Runs on the board after a soft reset. Of the configuration only the device id is told, and of a fault the words that
# the firmware itself would log. No private key leaves: whether it is the certificate's is decided there, for a key file
# holds the public half too (RFC 5915 section 3, RFC 8017 appendix A.1.2), which ends as the certificate's public key.
_SCRIPT = """
import gc, json, os, sys, binascii
gc.collect()
f = {"heap_free": gc.mem_free(), "heap_bytes": gc.mem_free() + gc.mem_alloc()}
def put(name, get):
    try:
        f[name] = get()
    except Exception as e:
        f[name] = None
        f.setdefault("faults", {})[name] = [getattr(e, "code", type(e).__name__), str(getattr(e, "fact", e))[:200]]
def flash():
    s = os.statvfs("/")
    return [s[0] * s[3], s[1] * s[2]]
def version():
    v = sys.implementation.version
    return ".".join([str(n) for n in v[:3]]) + "".join(["-" + n for n in v[3:] if n])
def uid():
    import machine
    return binascii.hexlify(machine.unique_id()).decode()
def tree():
    for p in sys.path:
        if p in ("/app_a", "/app_b"):
            return p[-1]
    try:
        with open("/app") as g:
            t = g.read(3).strip()
    except OSError:
        return ""
    if t in ("a", "b"):
        sys.path.insert(0, "/app_" + t)
        return t
    return ""
def rootlet():
    import rootlet
    return rootlet.__version__
def device():
    if os.stat("config.json")[6] > 16384:
        raise ValueError("config.json is larger than 16 KB")
    with open("config.json") as g:
        v = json.load(g)["device"]
    return v if isinstance(v, str) and len(v) < 49 else None
put("flash", flash)
put("micropython", version)
put("machine", lambda: getattr(sys.implementation, "_machine", ""))
put("platform", lambda: sys.platform)
put("unique_id", uid)
put("tree", tree)
put("rootlet", rootlet)
put("device", device)
"""
_HEALTH = """
def there(name):
    try:
        return os.stat(name)[6]
    except OSError:
        return None
def checked():
    global settings
    from rootlet import config
    settings = config.load()
    return True
def trust():
    global floor
    from rootlet import slots, trust
    slots.start(lambda *a: None)
    t = trust.load(settings["trust"], None, None, settings["roots"])
    floor = t.floor
    return [len(t.roots), 1 if t.store else 0]
def clock():
    from rootlet import clock
    c = clock.Clock(floor, [])
    return [c.floor, c.read()]
def identity():
    from rootlet import slots, trust, x509
    m = settings["mqtt"]
    if m["psk"]:
        return {"psk": there(slots.path(m["psk"]))}
    if not m["cert"]:
        return {}
    cert = trust.read_file(slots.path(m["cert"]))
    key = trust.read_file(slots.path(m["key"]))
    a, b = x509.parse(cert).spki
    return {"cert": binascii.b2a_base64(cert).decode().strip(), "match": key.find(cert[b - 64:b]) >= 0}
settings = None
floor = 0
if f["rootlet"]:
    put("config", checked)
    if settings:
        put("trust", trust)
        put("clock", clock)
        put("identity", identity)
"""
_TELL = f'\nprint("\\n{_MARK}" + json.dumps(f))\n'


@dataclass(frozen=True)
class Board:
    """What a board said about itself; None where it did not know or was not asked.

    `flash_free`, `flash_bytes`, `heap_free`, `heap_bytes`: bytes; the heap after a soft reset, before the program.
    `health`: the further answers, by name. `faults`: for each answer that is missing, [code or kind of error, fact].
    """

    port: str
    micropython: str | None = None
    machine: str | None = None
    platform: str | None = None
    unique_id: str | None = None
    rootlet: str | None = None
    device: str | None = None
    tree: str | None = None
    flash_free: int | None = None
    flash_bytes: int | None = None
    heap_free: int | None = None
    heap_bytes: int | None = None
    health: dict[str, Any] | None = None
    faults: dict[str, list[str]] | None = None

    @property
    def chip(self) -> str:
        """The chip, from MicroPython's own words "BOARD with CHIP"; "" where they say none."""
        return (self.machine or "").rpartition(" with ")[2] if " with " in (self.machine or "") else ""


def ask(port: str, *, health: bool = False, timeout_s: float = TIMEOUT_S) -> Board:
    """Stop the board's program, ask, and restart the board, whatever the answer.

    Args: health: ask about configuration, trust, clock and identity too.
    Raises: Failure, as deploy does; or where the answer cannot be used.
    """
    script = _SCRIPT + (_HEALTH if health else "") + _TELL
    try:
        output = deploy._mpremote(port, "exec", script, "+", "reset", timeout_s=timeout_s)
    except Failure as failure:
        if "busy" not in failure.what and "no board" not in failure.what:
            _restart(port)
        raise
    told = [line for line in output.splitlines() if line.startswith(_MARK)]
    try:
        if len(output) > _LONGEST or not told:
            raise ValueError
        return _board(port, json.loads(told[-1][len(_MARK) :]))
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise Failure(
            f"the answer of {port} cannot be used", "it is not what was asked for", "rootlet deploy"
        ) from None


def _restart(port: str) -> None:
    """Its program may have been stopped before the question failed."""
    with contextlib.suppress(Failure):  # the first failure is the one to tell
        deploy._mpremote(port, "reset", timeout_s=_RESET_TIMEOUT_S)


def _board(port: str, told: dict[str, Any]) -> Board:
    def text(name: str) -> str | None:
        value = told.get(name)
        return printable(value)[:100] if isinstance(value, str) else None

    def number(value: object) -> int | None:
        return value if isinstance(value, int) and not isinstance(value, bool) else None

    free, size = told.get("flash") or (None, None)
    faults = {
        str(name): [printable(str(part))[:200] for part in fault] for name, fault in told.get("faults", {}).items()
    }
    return Board(
        port,
        micropython=text("micropython"),
        machine=text("machine"),
        platform=text("platform"),
        unique_id=text("unique_id"),
        rootlet=text("rootlet"),
        device=text("device"),
        tree=text("tree"),
        flash_free=number(free),
        flash_bytes=number(size),
        heap_free=number(told["heap_free"]),
        heap_bytes=number(told["heap_bytes"]),
        health={name: told.get(name) for name in ("config", "trust", "clock", "identity")},
        faults=faults,
    )


def certificate(board: Board) -> bytes | None:
    """The board's own certificate, DER, as it told it; None where it has none. Raises ValueError."""
    told = ((board.health or {}).get("identity") or {}).get("cert")
    return base64.b64decode(told, validate=True) if isinstance(told, str) else None


def ask_all(
    boards: Iterable[Found], *, timeout_s: float = TIMEOUT_S, health: bool = False
) -> list[tuple[Found, Board | Failure]]:
    """Ask several boards at once; each answers, or its Failure stands in its place."""

    def one(found: Found) -> tuple[Found, Board | Failure]:
        try:
            return found, ask(found.port, health=health, timeout_s=timeout_s)
        except Failure as failure:
            return found, failure

    with ThreadPoolExecutor(max_workers=8) as pool:
        return list(pool.map(one, boards))


def as_json(found: Found, answer: Board | Failure | None) -> dict[str, Any]:
    """One board, ready for JSON."""
    row: dict[str, Any] = asdict(found)
    row |= {"state": state(found, answer), "chip": found.chip or None, "asked": answer is not None}
    if isinstance(answer, Failure):
        row["error"] = {"what": answer.what, "because": answer.because, "try": answer.try_}
    elif answer is not None:
        told = asdict(answer)
        for name in ("port", "health", "faults"):
            told.pop(name)
        row |= told | {"chip": answer.chip or found.chip or None}
    return row


def state(found: Found, answer: Board | Failure | None) -> str:
    """What the board is doing, in a word or a few."""
    if answer is None:
        return found.state
    if not isinstance(answer, Failure):
        return "MicroPython"
    if "busy" in answer.what:
        return "busy"
    if "no board" in answer.what:
        return "cannot be opened"
    bare = found.state.startswith("USB bridge") or "ROM" in found.state
    return "no MicroPython: ROM loader, or other firmware" if bare else "does not answer"
