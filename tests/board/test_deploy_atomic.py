"""`rootlet deploy` on a virtual board by the real mpremote: killed and cut at random, a whole version always starts."""

import contextlib
import json
import multiprocessing
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from host_tools import deploy, deploy_jobs, trees
from host_tools.failure import Exit, Failure
from host_tools.paths import ROOT
from host_tools.sim.board import VirtualBoard
from tests.board.test_rotate import SCRIPT, Lab

CUTS = int(os.environ.get("ROOTLET_DEPLOY_CUTS", "8"))
PARTS = 4
OWN = ("complete", "complete.new", "tried", "starts")
QUIET = trees.Options(wait_s=None)
PATIENT = trees.Options(wait_s=20)


class Site(Lab):
    """A broker, an empty board, and versions of the program that differ in several files."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        super().__init__(folder, stack)
        self.staged = self.flash
        self.flash = folder / "board"
        self.flash.mkdir()
        self.count = 0

    def version(self, config: Callable[[dict[str, Any]], None] | None = None) -> Path:
        """A staged tree unlike all before it."""
        self.count += 1
        tree = self.folder / f"version-{self.count}"
        shutil.copytree(self.staged, tree)
        for i in range(PARTS):
            (tree / "rootlet" / f"part{i}.py").write_text(f"VERSION = {self.count:06}\n" + "#" * 900 * i)
        # A new file and one that goes, each time; and a new configuration.
        (tree / "rootlet" / f"only{self.count % 3}.py").write_text("")
        settings = json.loads((tree / "config.json").read_text())
        settings["mqtt"]["keepalive_s"] = 60 + self.count
        if config:
            config(settings)
        (tree / "config.json").write_text(json.dumps(settings))
        return tree

    def runs(self, board: VirtualBoard, since: int = 0) -> str:
        """The folder that the board has started from, "" for its root."""
        line = board.wait_for(r"boot: (app_[ab]|no tree)$", 20, since)
        found = re.search(r"app_.$", line)
        return found[0] if found else ""

    def matches(self, folder: str, tree: Path) -> bool:
        """Whether a tree on the flash, with the configuration beside it, is exactly this version."""
        state = {*trees.STATE, *trees.ROOT_FILES}
        wanted = {name: data for name, data in files(tree).items() if name not in state}
        there = {name: data for name, data in files(self.flash / folder).items() if name not in OWN}
        there = {name: data for name, data in there.items() if not name.startswith(("state/", "former/"))}
        return there == wanted and (self.flash / "config.json").read_bytes() == (tree / "config.json").read_bytes()


def files(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def stage(tree: Path) -> Callable[[Path, str], Path]:
    return lambda out, abi: Path(shutil.copytree(tree, out))


def install(board: VirtualBoard, tree: Path, options: trees.Options = PATIENT) -> list[str]:
    lines: list[str] = []
    trees.run(board.port, stage(tree), options, lines.append)
    return lines


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with contextlib.ExitStack() as stack:
        yield Site(tmp_path, stack)


def restarted(board: VirtualBoard) -> int:
    at = board.position
    board.reset()
    return at


def test_the_course_of_deployments(site: Site) -> None:
    with site.board() as board:
        one, two = site.version(), site.version()
        first = install(board, one)
        assert "has no program yet" in first[0] and "first reading" in first[2] and "publishes" in first[3]
        assert site.matches("app_a", one) and (site.flash / "app_a" / "tried").exists()
        assert not list((site.flash / "app_a" / "former").iterdir())
        # Nothing changed: nothing is copied, and it is quick.
        before = {path: path.stat().st_mtime_ns for path in (site.flash / "app_a").rglob("*")}
        took = []
        for _ in range(3):
            began = time.monotonic()
            lines = install(board, one)
            took.append(time.monotonic() - began)
            assert "copy 0 files, 0 bytes; copy 0 on the board itself" in lines[1] and "delete 0" in lines[1]
        # Ten seconds more where the interrupt falls into a restart: mpremote waits so long before it tries again.
        assert min(took) < 3
        assert before == {path: path.stat().st_mtime_ns for path in (site.flash / "app_a").rglob("*")}
        # Of the next version only what differs goes over the wire; the identity is not written again.
        key = (site.flash / "device.key.der").stat()
        lines = install(board, two)
        assert f"copy {PARTS + 2} files" in lines[1]
        assert site.matches("app_b", two)
        assert (site.flash / "device.key.der").stat().st_mtime_ns == key.st_mtime_ns
        # Back to the first: most is still in the other tree.
        lines = install(board, one)
        assert "copy 1 files" in lines[1] and "copy 0 on the board" in lines[1]
        assert site.matches("app_a", one)


def in_a_process(port: str, tree: Path, begun: Any) -> None:
    """A deployment that leads a process group, so that it can be killed with the mpremote it has started."""
    os.setsid()
    begun.set()
    with contextlib.suppress(Failure):
        install(SimpleNamespace(port=port), tree)  # type: ignore[arg-type]


@pytest.mark.timeout(60 + 15 * CUTS)
def test_cut_off_at_random_moments(site: Site) -> None:
    """kill -9 of the command, and the board's power: either version starts, whole; then a deployment finishes."""
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload([__name__])
    outcomes = {"old": 0, "new": 0}
    board = site.board().start()
    try:
        old = site.version()
        install(board, old)
        new = site.version()
        began = time.monotonic()
        install(board, new)
        whole = time.monotonic() - began
        old = new
        for i in range(CUTS):
            new = site.version()
            moment = chance.uniform(0.1, 2 * whole)  # restart and trial included, on a busy machine too
            where = f"seed {seed}, cut {i} after {moment:.3f} s of {whole:.1f}"
            begun = context.Event()
            process = context.Process(target=in_a_process, args=(board.port, new, begun))
            process.start()
            assert begun.wait(20)
            process.join(moment)
            if i % 2:
                board.stop()  # kill -9 of the interpreter, and the terminal is gone
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid or 0, signal.SIGKILL)
            process.join()
            if i % 2:
                board = site.board().start()
                at = 0
            else:
                at = restarted(board)
            folder = site.runs(board, at)
            board.wait_for("mqtt: connected", 20, at)
            is_old, is_new = site.matches(folder, old), site.matches(folder, new)
            assert is_old != is_new, where
            outcomes["new" if is_new else "old"] += 1
            deploy.copy_to_board(board.port, new)
            at = restarted(board)
            folder = site.runs(board, at)
            board.wait_for("mqtt: connected", 20, at)  # by then the configuration is the tree's own
            assert site.matches(folder, new), where
            old = new
    finally:
        board.stop()
    assert outcomes["old"], outcomes
    print(f"\n{CUTS} cuts: {outcomes}; a whole deployment takes {whole:.1f} s")


def deaf(settings: dict[str, Any]) -> None:
    settings["mqtt"]["port"] = 1


def test_a_version_that_does_not_publish_is_taken_back(site: Site) -> None:
    with site.board() as board:
        one = site.version()
        install(board, one)
        bad = site.version(deaf)
        with pytest.raises(Failure, match="the board runs the former one again") as e:
            install(board, bad, trees.Options(wait_s=2))
        assert e.value.code == Exit.FAILED
        assert "TCP_REFUSED" in e.value.because
        at = board.position - 1
        board.wait_for("mqtt: connected", 20, at)
        assert site.matches("app_a", one)  # its configuration too
        assert (site.flash / "app").read_text() == "a\n"
        # The same, corrected.
        two = site.version()
        install(board, two)
        assert site.matches("app_b", two)


def test_a_first_version_that_does_not_publish_has_nothing_to_go_back_to(site: Site) -> None:
    with site.board() as board:
        with pytest.raises(Failure, match="no former version"):
            install(board, site.version(deaf), trees.Options(wait_s=1))
        at = board.position
        good = site.version()
        install(board, good)
        board.wait_for("trees: app_b works", 5, at)
        assert site.matches("app_b", good)


def test_a_tree_that_crashes_goes_back_by_itself(site: Site) -> None:
    with site.board() as board:
        one = site.version()
        install(board, one)
        bad = site.version()
        (bad / "rootlet" / "gateway.mpy").unlink()
        (bad / "rootlet" / "gateway.py").write_text("raise ValueError('a mistake')\n")
        install(board, bad, QUIET)
        board.wait_for("boot: app_b does not connect; going back", 30)
        board.wait_for("mqtt: first reading published", 20, board.position)
        assert board.output.count("ValueError: a mistake; the board resets") == 3
        board.wait_for("boot: app_a$", 5)
        assert site.matches("app_a", one)


def test_three_starts_that_are_cut_short(site: Site) -> None:
    """A board on trial that is reset each time before it has connected."""
    with site.board() as board:
        one = site.version()
        install(board, one)
        deploy.copy_to_board(board.port, site.version(deaf))
        for _ in range(3):
            at = restarted(board)
            assert site.runs(board, at) == "app_b"
            board.wait_for("error: TCP_REFUSED", 20, at)
        at = restarted(board)
        assert site.runs(board, at) == "app_a"
        board.wait_for("mqtt: connected", 20, at)
        assert site.matches("app_a", one)


FLAT_BOOT = "import gc\n\ngc.collect()\ngc.threshold(gc.mem_free() // 4 + gc.mem_alloc())\n"
FLAT_MAIN = "import asyncio\n\nfrom rootlet import start\n\nasyncio.run(start.main())\n"


def test_a_board_with_the_program_at_its_root_moves(site: Site) -> None:
    shutil.rmtree(site.flash)
    shutil.copytree(site.staged, site.flash)
    (site.flash / "boot.py").write_text(FLAT_BOOT)
    (site.flash / "main.py").write_text(FLAT_MAIN)
    with site.board() as board:
        board.wait_for("mqtt: connected", 20)
        one = site.version()
        # A board's trust roots stay, where none are given.
        (one / "trust_roots.mpy").unlink()
        with pytest.raises(Failure, match="runs the former one"):
            install(board, site.version(deaf), trees.Options(wait_s=1))
        at = board.position - 1
        board.wait_for("mqtt: connected", 20, at)
        lines = install(board, one, trees.Options(wait_s=20, delete=True))
        assert "runs the program at its root" in lines[0]
        # What lay there belongs to no tree: the whole program of before.
        program = sum(1 for path in site.staged.rglob("*.mpy")) + 1  # and board.json
        assert f"deleted {program} files of former versions" in lines
        left = sorted(path.name for path in site.flash.iterdir())
        assert left == [
            "app", "app_a", "boot.py", "clock.json", "config.json", "device.crt.der", "device.key.der", "health.json",
            "main.py", "outbox",
        ]  # fmt: skip
        board.wait_for("mqtt: connected", 20, board.position - 1)
        assert (site.flash / "app_a" / "trust_roots.mpy").read_bytes() == site.roots.compiled.read_bytes()


def test_a_full_flash(site: Site) -> None:
    with site.board() as board:
        one, two = site.version(), site.version()
        install(board, one)
        board.update_script({**SCRIPT, "faults": {"flash_full": True}})
        with pytest.raises(Failure):
            install(board, two)
        board.update_script(SCRIPT)
        at = restarted(board)
        assert site.runs(board, at) == "app_a"
        board.wait_for("mqtt: connected", 20, at)
        assert site.matches("app_a", one)
        install(board, two)
        (two / "roots.bin").write_bytes(bytes(900_000))
        with pytest.raises(Failure, match="too full"):
            install(board, two)


def command(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "firmware")])}
    line = [sys.executable, "-m", "host_tools", "deploy", *arguments]
    return subprocess.run(line, capture_output=True, text=True, env=environment, timeout=60, check=False, cwd=folder)


def test_the_command(site: Site) -> None:
    with site.board() as board:
        given = ["--port", board.port, "--config", str(site.folder / "config.json"), "--trust", str(site.roots.module)]
        given += ["--cert", str(site.device.cert_der), "--key", str(site.device.key_der)]
        done = command(site.folder, *given, "--dry-run")
        assert done.returncode == 0, done.stderr
        assert "plan: copy" in done.stdout and not (site.flash / "app").exists()
        done = command(site.folder, *given, "--wait", "20")
        assert done.returncode == 0, done.stderr
        assert "the board publishes" in done.stdout
        done = command(site.folder, *given)
        assert "copy 0 files, 0 bytes" in done.stdout and "restarted" in done.stdout
        board.wait_for("mqtt: connected", 20, board.position - 1)
        config = json.loads((site.folder / "config.json").read_text())
        deaf(config)
        (site.folder / "config.json").write_text(json.dumps(config))
        done = command(site.folder, *given, "--wait", "2")
        assert done.returncode == Exit.FAILED
        assert [line.split(":")[0] for line in done.stderr.splitlines()] == ["error", "because", "try"]
        assert "TCP_REFUSED" in done.stderr


def project(site: Site) -> SimpleNamespace:
    folder = site.folder / "build" / "devices"
    devices = tuple(SimpleNamespace(id=name, board="pico_w", serial=None) for name in ("dev-1", "dev-2"))

    def device(name: str | None) -> SimpleNamespace:
        return next(one for one in devices if one.id == (name or "dev-1"))

    return SimpleNamespace(devices=devices, device=device, out=lambda name: folder / name)


def test_a_project_and_watching_it(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = ModuleType("host_tools.project")
    module.find, module.load = lambda: site.folder, lambda _: project(site)
    monkeypatch.setitem(sys.modules, "host_tools.project", module)
    out = site.folder / "build" / "devices" / "dev-1"
    with site.board() as board:
        [job] = deploy_jobs.from_project("dev-1", False, board.port)
        assert [one.device for one in deploy_jobs.from_project(None, True, None)] == ["dev-1", "dev-2"]
        with pytest.raises(Failure, match="is not provisioned") as e:
            deploy_jobs.run([job], PATIENT, print)
        assert "rootlet provision dev-1" in e.value.try_
        out.mkdir(parents=True)
        for source, name in (
            (site.folder / "config.json", "config.json"), (site.roots.compiled, "trust_roots.mpy"),
            (site.device.cert_der, "device.crt.der"), (site.device.key_der, "device.key.der"),
        ):  # fmt: skip
            shutil.copy(source, out / name)
        lines: list[str] = []
        watching = threading.Event()
        ended = threading.Event()

        def say(line: str) -> None:
            lines.append(line)
            if line.startswith("watching"):
                watching.set()

        thread = threading.Thread(
            target=deploy_jobs.watch, args=([job], PATIENT, say), kwargs={"going": lambda: not ended.is_set()}
        )
        thread.start()
        try:
            assert watching.wait(30), lines
            assert (site.flash / "app").read_text() == "a\n", lines
            watching.clear()
            config = json.loads((out / "config.json").read_text())
            config["mqtt"]["keepalive_s"] = 33
            (out / "config.json").write_text(json.dumps(config))
            assert watching.wait(30), lines
        finally:
            ended.set()
            thread.join(30)
        assert (site.flash / "app").read_text() == "b\n", lines
        assert json.loads((site.flash / "config.json").read_text())["mqtt"]["keepalive_s"] == 33


def test_a_rotation_outlives_the_next_version(site: Site) -> None:
    with site.board() as board:
        install(board, site.version())
        site.rotate(board, days=30)
        rotated = site.issued()
        assert (site.flash / "slot").read_text() == "a\n"
        del site.relay.seen[:]
        lines = install(board, site.version())
        assert any("rotated files" in line for line in lines)
        assert (site.flash / "slot").read_text() == "a\n" and rotated in site.relay.seen
