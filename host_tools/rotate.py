"""Renews what a board is known by and whom it trusts, so that a failure or a cut leaves a board that connects."""

import base64
import contextlib
import fcntl
import hashlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from host_tools import certs, deploy, former, root_store
from host_tools.ca import Authority, Issued
from host_tools.failure import Exit, Failure
from host_tools.safe_write import PRIVATE, PUBLIC, File, make_directory, write_all

_TRIAL_TIMEOUT_S = 180
_PROMPT_TIMEOUT_S = 20
_STALE_S = 86400
_BLOCK = 4096
_PIN = "sha256//"
_MOST_PINS = 4

Say = Callable[[str], None]


@dataclass(frozen=True)
class Request:
    """What to renew.

    Args:
        device: the board's device id. directory: of the CA.
        identity: a new key and certificate. trust: cert module (.py or .mpy). roots: root store file.
        pins: sha256//BASE64 of the broker's chain, () for none at all; None leaves the pins as they are.
        days, not_before, not_after: life of the certificate, see ca.Authority.issue_server.
        wait_s: for the board to be connected after the restart.
    """

    device: str
    directory: Path
    identity: bool = True
    trust: Path | None = None
    roots: Path | None = None
    pins: tuple[str, ...] | None = None
    days: int | None = None
    not_before: datetime | None = None
    not_after: datetime | None = None
    wait_s: float = 120

    def fingerprint(self) -> str:
        """Tells whether a rotation that was cut off was for the same request."""
        inputs = [hashlib.sha256(path.read_bytes()).hexdigest() if path else None for path in (self.trust, self.roots)]
        text = json.dumps([inputs, self.pins, self.days, str(self.not_before), str(self.not_after)])
        return hashlib.sha256(text.encode()).hexdigest()


@dataclass
class _Rotation:
    """One rotation under way: the request, and what the steps have found out so far."""

    port: str
    request: Request
    open_ca: Callable[[], Authority]
    say: Say
    staging: Path
    scratch: Path
    facts: dict[str, Any] = field(default_factory=dict)
    files: dict[str, Path] = field(default_factory=dict)  # name on the board -> file here
    carried: list[str] = field(default_factory=list)
    previous: str | None = None
    target: str = "a"
    touched: bool = False  # the board's program has been stopped

    def on_board(self, call: str, timeout_s: float = 120) -> str:
        """Call one function of the firmware's rotation module; what it printed."""
        self.touched = True
        return deploy._mpremote(self.port, "exec", f"from rootlet import rotation\n{call}", timeout_s=timeout_s)


def run(port: str, request: Request, open_ca: Callable[[], Authority], say: Say) -> None:
    """Rotate; may be called again after any interruption, and then goes on or begins anew, whichever is right.

    Args:
        port: the board's serial port. open_ca: opens the CA; called only where a certificate is to be issued.
        say: takes each line of the report.
    Raises: Failure; with exit code 4 where the board could not connect with the new files, and then it uses the
    former ones as before.
    """
    _check(request)
    staging = request.directory / "rotations" / request.device
    with tempfile.TemporaryDirectory(prefix="rootlet-") as scratch, _locked(request):
        rotation = _Rotation(port, request, open_ca, say, staging, Path(scratch))
        try:
            identify(rotation)
            if _is_switched(rotation):
                say("an earlier rotation was cut off after the switch: it is finished first")
                same = _plan(rotation) == request.fingerprint()
                other = "b" if rotation.facts["active"] == "a" else "a"
                rotation.target = rotation.facts["active"]
                rotation.previous = other if rotation.facts["slots"].get(other, {}).get("tried") else None
                _steps(rotation, STEPS[-2:])
                if same:
                    return
                identify(rotation)
            _steps(rotation, STEPS)
        except BaseException:
            if rotation.touched:
                with contextlib.suppress(Failure):
                    deploy.reset(port)  # its program was stopped; whatever happened, it must run again
            raise


def _steps(rotation: _Rotation, steps: "tuple[tuple[str, Step], ...]") -> None:
    for i, (name, step) in enumerate(steps, 1):
        rotation.say(f"{i}/{len(steps)} {name}")
        step(rotation)


def _check(request: Request) -> None:
    if not request.identity and request.trust is None and request.roots is None and request.pins is None:
        raise Failure(
            "there is nothing to rotate", "the certificate is to stay, and nothing else is given",
            "give --trust, --roots or --pins, or leave --keep-identity out", Exit.USAGE,
        )  # fmt: skip
    for path in (request.trust, request.roots):
        if path is not None and not path.is_file():
            raise Failure(f"{path} is no file", "it is absent or a folder", "check the path", Exit.USAGE)
    if request.trust:
        certs.check_module(request.trust)
    if request.roots:
        root_store.opened(request.roots)
    if not re.fullmatch(r"[A-Za-z0-9._-]{1,48}", request.device) or request.device.strip(".") == "":
        raise Failure(
            "that is no device id", f"{request.device[:60]!r} has other characters than letters, digits, '-', '_', '.'",
            'the "device" of the board\'s config.json', Exit.USAGE,
        )  # fmt: skip
    if len(request.pins or ()) > _MOST_PINS:
        raise Failure(
            "too many pins", f"{len(request.pins or ())}, at most {_MOST_PINS}", "current and next", Exit.USAGE
        )
    for pin in request.pins or ():
        try:
            good = pin.startswith(_PIN) and len(base64.b64decode(pin[len(_PIN) :], validate=True)) == 32
        except ValueError:
            good = False
        if not good:
            raise Failure(f"'{pin[:80]}' is no pin", "it is not sha256// and the base64 of 32 bytes",
                          "--pins sha256//BASE64, or --pins none", Exit.USAGE)  # fmt: skip


@contextlib.contextmanager
def _locked(request: Request) -> Iterator[None]:
    """One rotation of a device at a time. The lock goes with the process, however it ends."""
    if not request.identity:
        yield
        return
    folder = request.directory / "rotations"
    if not request.directory.is_dir():
        raise Failure(f"there is no CA in {request.directory}", "no such folder", "--dir CA_DIR", Exit.USAGE)
    make_directory(folder)
    with (folder / f"{request.device}.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise Failure(
                f"'{request.device}' is being rotated already", f"another process holds {lock.name}", "wait for its end"
            ) from None
        yield


def identify(rotation: _Rotation) -> None:
    """Ask the board who it is and which files it uses."""
    request = rotation.request
    try:
        said = rotation.on_board("import json\nprint('facts', json.dumps(rotation.facts()))")
    except Failure as e:
        if "ImportError" in e.because:
            raise Failure("the board's firmware cannot rotate", f"it says {e.because}", "rootlet deploy") from None
        raise
    line = next((line for line in said.splitlines() if line.startswith("facts {")), None)
    if line is None:
        raise Failure("the board did not say what it is", repr(said[-100:]), f"mpremote connect {rotation.port} repl")
    rotation.facts = facts = json.loads(line[6:])
    if facts["device"] != request.device:
        raise Failure(
            f"the board on {rotation.port} is another one", f"it is '{facts['device']}', not '{request.device}'",
            f"rootlet certs rotate {facts['device']}, or another --port", Exit.USAGE,
        )  # fmt: skip
    if request.identity and not facts["cert"]:
        raise Failure(
            "the board uses no certificate of its own", "its configuration has no mqtt.cert",
            "--keep-identity with --trust, --roots or --pins", Exit.USAGE,
        )  # fmt: skip
    rotation.previous = facts["active"]
    rotation.target = "b" if facts["active"] == "a" else "a"
    now = f"slot {facts['active']}" if facts["active"] else "the files beside main.py"
    rotation.say(f"board '{facts['device']}' uses {now}; the new files go to slot {rotation.target}")


def _last(name: str) -> str:
    return name.rsplit("/", 1)[-1]


def _plan(rotation: _Rotation) -> str | None:
    """The fingerprint of what is staged; None where nothing whole is."""
    try:
        plan = json.loads((rotation.staging / "plan.json").read_bytes())
        return str(plan["fingerprint"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _staged(rotation: _Rotation, ending: str) -> Path | None:
    """The staged file of this device with this ending."""
    return next((rotation.staging / "issued").glob(f"device-*.{ending}"), None)


def _is_switched(rotation: _Rotation) -> bool:
    """Whether the board already uses the certificate that is staged here."""
    facts, cert = rotation.facts, _staged(rotation, "crt.der")
    if not rotation.request.identity or not facts["active"] or cert is None or _plan(rotation) is None:
        return False
    row = facts["slots"].get(facts["active"], {"files": {}})["files"].get(_last(facts["cert"]))
    return row is not None and row[1] == hashlib.sha256(cert.read_bytes()).hexdigest()


def _unstage(rotation: _Rotation) -> None:
    (rotation.staging / "plan.json").unlink(missing_ok=True)
    shutil.rmtree(rotation.staging, ignore_errors=True)


def issue(rotation: _Rotation) -> None:
    """Make the new key and certificate, here and not yet in the CA's issued/; gather all files to copy."""
    request, facts = rotation.request, rotation.facts
    files: dict[str, Path] = {}
    if request.identity:
        _stage_identity(rotation)
        for name, ending in ((facts["cert"], "crt.der"), (facts["key"], "key.der")):
            path = _staged(rotation, ending)
            if path is None:
                raise Failure("what was staged has gone", f"{rotation.staging} is not whole", "the same command again")
            files[_last(name)] = path
    if request.trust:
        files[facts["trust"] + request.trust.suffix] = request.trust
    if request.roots:
        files[_last(facts["roots"])] = request.roots
    if request.pins is not None:
        path = rotation.scratch / "pins.json"
        path.write_text(json.dumps({**facts["pins"], "mqtt": list(request.pins) or None}))
        files["pins.json"] = path
    present = facts["slots"].get(facts["active"], {"files": {}})["files"]
    replaced = {*files, *(facts["trust"] + ending for ending in (".py", ".mpy") if request.trust)}
    rotation.files = files
    rotation.carried = sorted(name for name in present if name not in replaced)


def _stage_identity(rotation: _Rotation) -> None:
    request, staging = rotation.request, rotation.staging
    plan = staging / "plan.json"
    if _plan(rotation) == request.fingerprint() and time.time() - plan.stat().st_mtime < _STALE_S:
        rotation.say("the certificate of the rotation that was cut off is taken")
        return
    _unstage(rotation)
    authority = rotation.open_ca()
    make_directory(staging)
    made: Issued = replace(authority, directory=staging).issue_device(
        request.device, days=request.days, not_before=request.not_before, not_after=request.not_after
    )
    write_all([File(plan, json.dumps({"fingerprint": request.fingerprint()}).encode(), PRIVATE)])
    rotation.say(f"issued a certificate until {made.cert.not_valid_after_utc:%Y-%m-%d}")
    for note in made.notes:
        rotation.say(note)


def clear(rotation: _Rotation) -> None:
    """Empty the slot that is not in use."""
    rotation.on_board(f"rotation.clear({rotation.target!r})")


def copy(rotation: _Rotation) -> None:
    """Copy the new files into the slot; the board itself copies those that stay."""
    facts = rotation.facts
    there = facts["slots"].get(facts["active"], {"files": {}})["files"]
    old = facts["slots"].get(rotation.target, {"files": {}})["files"]
    sizes = [path.stat().st_size for path in rotation.files.values()] + [there[name][0] for name in rotation.carried]
    need = sum(_blocks(size) for size in [*sizes, 1, 1, 1])
    have = facts["free"] + sum(_blocks(size) for size, _ in old.values())
    if need > have:
        raise Failure("the board's flash is too full", f"{need} bytes are needed, {have} are free",
                      f"mpremote connect {rotation.port} df")  # fmt: skip
    arguments: list[str] = []
    for name, path in rotation.files.items():
        arguments += ["fs", "cp", str(path.resolve()), f":slot_{rotation.target}/{name}", "+"]
    if rotation.carried:
        call = f"rotation.carry({facts['active']!r}, {rotation.target!r}, {rotation.carried!r})"
        arguments += ["exec", f"from rootlet import rotation\n{call}", "+"]
    deploy._mpremote(rotation.port, *arguments[:-1])
    rotation.say(f"{len(rotation.files)} files copied, {len(rotation.carried)} kept")


def _blocks(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK


def seal(rotation: _Rotation) -> None:
    """The board checks every file by its SHA-256, then writes `complete`."""
    facts = rotation.facts
    there = facts["slots"].get(facts["active"], {"files": {}})["files"]
    files: dict[str, list[Any]] = {name: there[name] for name in rotation.carried}
    for name, path in rotation.files.items():
        data = path.read_bytes()
        files[name] = [len(data), hashlib.sha256(data).hexdigest()]
    rotation.on_board(f"rotation.seal({rotation.target!r}, {int(time.time())}, {files!r})")


def trial(rotation: _Rotation) -> None:
    """The board connects to the broker with the new files; nothing is switched yet."""
    said = rotation.on_board(f"rotation.trial({rotation.target!r})", _TRIAL_TIMEOUT_S)
    words = next((line for line in reversed(said.splitlines()) if line.startswith("trial ")), "")
    if words.strip() == "trial ok":
        rotation.say("the board has connected with them")
        return
    what, _, fix = words.removeprefix("trial failed").strip().partition("; try: ")
    with contextlib.suppress(Failure):
        clear(rotation)
    if rotation.request.identity:
        _unstage(rotation)
    raise Failure(
        "the trial with the new files failed; the board stays as it was", what or "the board said nothing of the trial",
        fix or "the same command again", Exit.UNVERIFIED,
    )  # fmt: skip


def switch(rotation: _Rotation) -> None:
    """Make the new slot the one in use from the next start on."""
    rotation.on_board(f"rotation.switch({rotation.target!r})")


def restart(rotation: _Rotation) -> None:
    """Restart the board and wait until it is connected with the new files; else go back to the former ones."""
    wanted = (rf"slots: using slot {rotation.target}\b", r"mqtt: connected")
    fact = restart_and_wait(rotation.port, wanted, rotation.request.wait_s)
    if fact is None:
        rotation.say("the board is connected with them")
        return
    rotation.on_board(f"rotation.switch({rotation.previous!r})")
    clear(rotation)
    if rotation.request.identity:
        _unstage(rotation)
    raise Failure(
        "the board did not connect after the switch; it uses the former files again", fact,
        f"mpremote connect {rotation.port} repl", Exit.UNVERIFIED,
    )  # fmt: skip


def keep(rotation: _Rotation) -> None:
    """Put the new key and certificate into the CA's issued/, the former ones beside them as .bak."""
    if not rotation.request.identity:
        return
    folder = rotation.request.directory / "issued"
    make_directory(folder)
    files: list[File] = []
    for path in sorted((rotation.staging / "issued").glob("device-*")):
        target = folder / path.name
        data = path.read_bytes()
        if not target.is_file() or target.read_bytes() != data:
            if path.name.endswith(".crt.pem"):
                files = [*former.kept(target), *files]
            files.append(File(target, data, PRIVATE if ".key." in path.name else PUBLIC))
    if files:
        write_all(files, force=True)
    _unstage(rotation)
    rotation.say(f"kept in {folder}; the former certificate stays valid until it expires or is revoked")


Step = Callable[[_Rotation], None]
# Each may be repeated; a cut before, in or after any of them leaves a board that connects. The last two alone finish
# a rotation that was cut off after the switch.
STEPS: tuple[tuple[str, Step], ...] = (
    ("issue", issue),
    ("clear", clear),
    ("copy", copy),
    ("seal", seal),
    ("trial", trial),
    ("switch", switch),
    ("restart", restart),
    ("keep", keep),
)


def restart_and_wait(port: str, patterns: tuple[str, ...], timeout_s: float, against: str = r"(?!)") -> str | None:
    """Soft-reset the board, with its port held open so that no line is missed, and wait for its console.

    Args: patterns: regular expressions, awaited in this order. timeout_s: for all of them. against: a line of which
    the waiting is in vain.
    Returns None, or what the board said in place of them. Raises Failure where the port cannot be used.
    """
    import serial

    try:
        with serial.Serial(port, 115200, timeout=0.1, write_timeout=5, exclusive=True) as link:
            if not _to_prompt(link):
                return "its prompt did not come"
            link.write(b"\x04")
            return _await(link, patterns, timeout_s, against)
    except OSError as e:  # SerialException is one; what the terminal itself raises is not wrapped in it
        raise Failure(
            f"the console of {port} was lost", str(e)[:200], "the same command again", Exit.NO_DEVICE
        ) from None


def _to_prompt(link: Any) -> bool:
    """Stop what runs (Ctrl-C), leave raw mode (Ctrl-B), wait for the prompt."""
    end = time.monotonic() + _PROMPT_TIMEOUT_S
    while time.monotonic() < end:
        link.write(b"\r\x03\x03\x02")
        heard = b""
        pause = time.monotonic() + 1
        while time.monotonic() < pause:
            heard = (heard + link.read(max(1, link.in_waiting)))[-200:]
            if heard.endswith(b">>> "):
                return True
    return False


def _await(link: Any, patterns: tuple[str, ...], timeout_s: float, against: str) -> str | None:
    end = time.monotonic() + timeout_s
    waiting = list(patterns)
    rest = b""
    error = ""
    while time.monotonic() < end:
        *lines, rest = (rest + link.read(max(1, link.in_waiting))).split(b"\n")
        rest = rest[-1000:]
        for raw in lines:
            line = raw.decode(errors="replace").strip()
            if re.search(waiting[0], line):
                waiting.pop(0)
                if not waiting:
                    return None
            elif re.search(against, line):
                return error or line
            elif "error: " in line:
                error = line[:400]  # it begins with the code
    return error or f"no line like {waiting[0]!r} in {timeout_s:.0f} s"
