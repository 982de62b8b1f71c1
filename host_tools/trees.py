"""Deploys a staged tree to a board that switches from the former version to the new one in one step."""

import contextlib
import hashlib
import json
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host_tools import deploy, mpy
from host_tools.failure import Failure
from host_tools.paths import FIRMWARE

ROOT_FILES = ("boot.py", "main.py")
STATE = ("config.json", "device.crt.der", "device.key.der", "device.psk", "update.pub")
"""Files beside main.py that outlive a version; all else goes into the tree."""

_ON_BOARD = Path(__file__).parent / "on_board" / "deploying.py"
_OWN = ("complete", "complete.new", "tried", "starts")
_CARRIED = ("trust_roots.py", "trust_roots.mpy", "roots.bin")
_FLAT_FOLDERS = ("rootlet", "umqtt")
_FLAT_FILES = ("board.json", *_CARRIED)
_BLOCK = 4096

Say = Callable[[str], None]
Digest = tuple[int, str]  # size in bytes, SHA-256 in hex


@dataclass(frozen=True)
class Board:
    """What a board said of itself.

    Attributes:
        micropython: version. mpy: sys.implementation._mpy. active: the tree that runs, "a", "b" or None.
        marker: the tree that is asked for. tried: whether the active one has worked. refuge: another that has, or None.
        flat: a program lies beside main.py. slot: rotated files are in use. free: bytes.
        files: {path: (size, SHA-256)} of both trees, of the files at the root, and of a program there.
    """

    port: str
    micropython: str
    mpy: int | None
    active: str | None
    marker: str | None
    tried: bool
    refuge: str | None
    flat: bool
    slot: bool
    free: int
    files: dict[str, Digest]

    def inside(self, folder: str) -> dict[str, Digest]:
        """The files in a folder, by their names in it."""
        start = folder + "/"
        return {name[len(start) :]: found for name, found in self.files.items() if name.startswith(start)}


@dataclass
class Plan:
    """What a deployment is to do.

    Attributes:
        target: the tree that is filled, "a" or "b". listing: what `complete` will say.
        sent: {name on the board: file here} over the wire. copies: (file on the board, name in the tree).
        kept: how many are there already. stale: names in the target that go. folders: in the target, parents first.
        root: files at the root that are replaced. nbytes: over the wire.
        unchanged: all is as it should be already.
    """

    target: str
    listing: dict[str, Any]
    sent: dict[str, Path] = field(default_factory=dict)
    copies: list[tuple[str, str]] = field(default_factory=list)
    kept: int = 0
    stale: list[str] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    root: dict[str, Digest] = field(default_factory=dict)
    nbytes: int = 0
    unchanged: bool = False

    def __str__(self) -> str:
        copied = f"copy {len(self.sent)} files, {self.nbytes} bytes"
        here = f"copy {len(self.copies)} on the board itself"
        return f"plan: {copied}; {here}; keep {self.kept}; delete {len(self.stale)}"


def on_board(call: str) -> str:
    """MicroPython source for `mpremote exec`: the board's functions, whatever is on the board, then a call."""
    parts = [path.read_text() for path in (FIRMWARE / "boot.py", FIRMWARE / "rootlet" / "trees.py", _ON_BOARD)]
    return "\n".join([*parts, call])


def ask(port: str) -> Board:
    """Ask a board what it is and what it has, in one call. Its program stops for it. Raises Failure."""
    folders = ("app_a", "app_b", *_FLAT_FOLDERS)
    said = deploy._mpremote(port, "exec", on_board(f"facts({folders!r}, {(*ROOT_FILES, *STATE, *_FLAT_FILES)!r})"))
    facts: dict[str, Any] | None = None
    files: dict[str, Digest] = {}
    for line in said.splitlines():
        if line.startswith("facts {"):
            facts = json.loads(line[6:])
        elif line.startswith("sha "):
            _, size, digest, name = line.split(" ", 3)
            files[name] = (int(size), digest)
    if facts is None:
        raise Failure("the board did not say what it is", repr(said[-100:]), f"mpremote connect {port} repl")
    facts["marker"] = facts["marker"] or None
    return Board(port=port, files=files, **facts)


def _digest(data: bytes) -> Digest:
    return len(data), hashlib.sha256(data).hexdigest()


def plan(board: Board, tree: Path, carry: bool = True) -> Plan:
    """Work out what is to be done.

    Args: tree: a staged tree, see deploy.stage. carry: trust roots and a root store stay as they are on the board
        where the tree has none.
    """
    names = {path.relative_to(tree).as_posix(): path for path in sorted(tree.rglob("*")) if path.is_file()}
    wanted = {name: _digest(path.read_bytes()) for name, path in names.items()}
    carried = _carried(board, wanted) if carry else {}
    target = "b" if board.active == "a" else "a"
    active = board.inside(f"app_{board.active}") if board.active else {}
    there = board.inside(f"app_{target}")
    files = {name: row for name, row in wanted.items() if name not in (*ROOT_FILES, *STATE)}
    files |= {name: board.files[source] for name, source in carried.items()}
    changed = {name: wanted[name] for name in STATE if name in wanted and board.files.get(name) != wanted[name]}
    root = {name: wanted[name] for name in ROOT_FILES if name in wanted and board.files.get(name) != wanted[name]}
    # These two first: the board reads the beginning only to know what it runs.
    made = int(time.time())
    result = Plan(target, {"made": made, "version": made, "files": files, "state": changed}, root=root)
    running = {name: row for name, row in active.items() if not _is_own(name)}
    if board.active and running == files and not changed and not root:
        result.kept, result.unchanged = len(wanted), True
        return result
    for name, row in [*files.items(), *((f"state/{name}", row) for name, row in changed.items())]:
        _place(result, board, name, row, carried.get(name), names.get(name.removeprefix("state/")))
    for name in root:
        result.sent[f"{name}.new"] = names[name]
    result.stale = sorted(
        name for name in there if name not in files and name.removeprefix("state/") not in changed and name not in _OWN
    )
    result.kept += sum(1 for name in wanted if name in (*STATE, *ROOT_FILES) and name not in {**changed, **root})
    folders = {"state", "former", *(str(parent) for name in files for parent in Path(name).parents)} - {"."}
    result.folders = sorted(folders)
    result.nbytes = sum(path.stat().st_size for path in result.sent.values())
    return result


def _place(result: Plan, board: Board, name: str, row: Digest, source: str | None, here: Path | None) -> None:
    """Where a file of the target comes from: it is there, or elsewhere on the board, or only here."""
    full = f"app_{result.target}/{name}"
    former = source or f"app_{board.active}/{name}"
    if board.files.get(full) == row:
        result.kept += 1
    elif board.files.get(former) == row:
        result.copies.append((former, name))
    elif board.flat and board.files.get(name) == row:  # a program at the root, from before there were trees
        result.copies.append((name, name))
    else:
        assert here is not None  # noqa: S101 (carried files are on the board)
        result.sent[full] = here


def _is_own(name: str) -> bool:
    return name in _OWN or name.startswith(("state/", "former/"))


def _carried(board: Board, wanted: dict[str, Digest]) -> dict[str, str]:
    """{name in the tree: file on the board} of trust roots and root store that nobody gave anew."""
    found = {}
    for kind in (("trust_roots.py", "trust_roots.mpy"), ("roots.bin",)):
        if any(name in wanted for name in kind):
            continue
        for place in ([f"app_{board.active}/"] if board.active else []) + [""]:
            here = {name: place + name for name in kind if place + name in board.files}
            if here:
                found.update(here)
                break
    return found


def _check_room(board: Board, made: Plan) -> None:
    def blocks(size: int) -> int:
        return -(-size // _BLOCK) * _BLOCK

    there = board.inside(f"app_{made.target}")
    need = sum(blocks(path.stat().st_size) for path in made.sent.values())
    need += sum(blocks(board.files[source][0]) for source, _ in made.copies) + 6 * _BLOCK
    replaced = {*made.stale, *(name.partition("/")[2] for name in made.sent), *(name for _, name in made.copies)}
    have = board.free + sum(blocks(size) for name, (size, _) in there.items() if name in replaced)
    if need > have:
        raise Failure(
            "the board's flash is too full", f"{need} bytes are needed, {have} are free",
            f"rootlet deploy --delete, or mpremote connect {board.port} df",
        )  # fmt: skip


def apply(board: Board, made: Plan) -> None:
    """Fill the tree that does not run, have the board read it back, and switch to it. Raises Failure."""
    _check_room(board, made)
    tree = made.target
    with tempfile.TemporaryDirectory(prefix="rootlet-") as folder:
        listing = Path(folder) / "complete"
        listing.write_text(json.dumps(made.listing, separators=(",", ":")))
        arguments = ["exec", on_board(f"begin({tree!r}, {made.stale!r}, {made.folders!r}, {made.copies!r})"), "+"]
        for name, path in {**made.sent, f"app_{tree}/complete.new": listing}.items():
            arguments += ["fs", "cp", str(path.resolve()), f":{name}", "+"]
        root = {name: list(row) for name, row in made.root.items()}
        # The functions of the first call are still there.
        arguments += ["exec", f"seal({tree!r})\ninstall({root!r})\nswitch({tree!r})"]
        try:
            deploy._mpremote(board.port, *arguments)
        except Failure as e:
            if "is not what was sent" in e.because:
                raise Failure("the copy on the board differs", e.because, "deploy again; is its flash full?") from None
            raise


def confirm(board: Board, tree: str, former: str | None, wait_s: float, say: Say) -> None:
    """Restart the board and wait until its new tree publishes; else make it go back.

    Args: tree: "a" or "b". former: the tree to go back to, "" for the program at the root, None where there is nothing.
    Raises: Failure with the board's last error.
    """
    from host_tools import rotate

    wanted = (rf"boot: app_{tree}$", "gateway: rootlet starts", "mqtt: first reading published")
    try:
        # Where the new tree ends again and again, boot.py itself goes back, and then the former one publishes.
        fact = rotate.restart_and_wait(board.port, wanted, wait_s, against=rf"^boot: (?!app_{tree}$)")
    except Failure as e:
        fact = e.because
    if fact is None:
        say("the board publishes: the new version stays")
        return
    look = f"mpremote connect {board.port} repl"
    if former is None:
        raise Failure("the board does not publish; there is no former version to go back to", fact, look)
    deploy._mpremote(board.port, "exec", on_board(f"back({former or None!r})"))
    deploy.reset(board.port)
    raise Failure("the new version does not publish; the board runs the former one again", fact, look)


def tidy(board: Board, active: str, keep: bool) -> int:
    """Remove a former program at the root and what is left in the tree that does not run; how many files went.

    Args: active: the tree that runs and has worked. keep: the other tree holds a whole version: it stays.
    """
    flat = [name for name in board.files if name.startswith(tuple(f"{folder}/" for folder in _FLAT_FOLDERS))]
    flat += [name for name in _FLAT_FILES if name in board.files]
    other = "b" if active == "a" else "a"
    left = [] if keep else list(board.inside(f"app_{other}"))
    if flat or left:
        erase = f"\nerase('app_{other}')" if left else ""
        deploy._mpremote(board.port, "exec", on_board(f"tidy({flat!r}){erase}"))
    return len(flat) + len(left)


@dataclass(frozen=True)
class Options:
    """How to deploy.

    Args:
        carry: see plan(). wait_s: for the first published reading; None: do not wait.
        delete: remove what former versions have left, once the new one works. dry_run: show the plan only.
    """

    carry: bool = True
    wait_s: float | None = 120
    delete: bool = False
    dry_run: bool = False


def run(port: str, stage: Callable[[Path, str], Path], options: Options, say: Say) -> None:
    """Deploy one board. May be called again after any interruption, and finishes the job.

    Args: stage: lays the tree out in a folder that is not there yet, for an .mpy version, and returns it.
    Raises: Failure; where the new version does not publish, the board runs the former one.
    """
    board = ask(port)
    try:
        version = mpy.abi(board.mpy)
        say(f"board on {port}: MicroPython {board.micropython}, .mpy {version}, {_runs(board)}")
        # The tree holds the device's key: it lives in a private folder and goes when the copy is done.
        with tempfile.TemporaryDirectory(prefix="rootlet-") as folder:
            made = plan(board, stage(Path(folder) / "tree", version), options.carry)
            say(str(made))
            if not options.dry_run:
                _switch(board, made)
    except BaseException:
        with contextlib.suppress(Failure):
            deploy.reset(port)  # its program was stopped; whatever happened, it must run again
        raise
    if options.dry_run:
        deploy.reset(port)
        return
    _start(board, made, options, say)


def _runs(board: Board) -> str:
    if board.active:
        return f"runs app_{board.active}" + ("" if board.tried else " on trial")
    return "runs the program at its root" if board.flat else "has no program yet"


def _switch(board: Board, made: Plan) -> None:
    if not made.unchanged:
        apply(board, made)
    elif board.marker != board.active:
        deploy._mpremote(board.port, "exec", on_board(f"switch({board.active!r})"))


def _start(board: Board, made: Plan, options: Options, say: Say) -> None:
    """Restart, wait where that makes sense, tidy up."""
    tree = board.active if made.unchanged and board.active else made.target
    trial = not (made.unchanged and board.tried)
    configured = "config.json" in board.files or "config.json" in made.listing["state"]
    tried = not trial
    if trial and options.wait_s is not None and configured:
        former = board.refuge if made.unchanged else board.active or ("" if board.flat else None)
        say(f"restarting; waiting up to {options.wait_s:.0f} s for its first reading")
        confirm(board, tree, former, options.wait_s, say)
        tried = True
    if options.delete and tried:
        with_rest = board if made.unchanged else ask(board.port)
        say(f"deleted {tidy(with_rest, tree, bool(with_rest.refuge))} files of former versions")
        deploy.reset(board.port)
    elif not (trial and tried):
        deploy.reset(board.port)
        say("restarted" if tried or configured else "restarted; it has no config.json yet")
    if options.delete and not tried:
        say("nothing deleted: the new version has not published yet; repeat the command when it does")
    if board.slot and not made.unchanged:
        say("note: the board uses rotated files, which go before what was deployed; see docs/rotation.md")
