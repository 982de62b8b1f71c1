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

CUTS = int(os.environ.get("ROOTLET_DEPLOY_CUTS", "16"))
PARTS = 6
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
        began = time.monotonic()
        lines = install(board, one)
        took = time.monotonic() - began
        assert "copy 0 files, 0 bytes; copy 0 on the board itself" in lines[1] and "delete 0" in lines[1]
        assert took < 3
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


def in_a_process(port: str, tree: Path) -> None:
    """A deployment that leads a process group, so that it can be killed with the mpremote it has started."""
    os.setsid()
    with contextlib.suppress(Failure):
        install(SimpleNamespace(port=port), tree)  # type: ignore[arg-type]


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
            moment = chance.uniform(0.1, whole)
            where = f"seed {seed}, cut {i} after {moment:.3f} s of {whole:.1f}"
            process = context.Process(target=in_a_process, args=(board.port, new))
            process.start()
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
            install(board, new, QUIET)
            at = restarted(board)
            folder = site.runs(board, at)
            board.wait_for("mqtt: connected", 20, at)  # by then the configuration is the tree's own
            assert site.matches(folder, new), where
            old = new
    finally:
        board.stop()
    assert outcomes["old"], outcomes
    print(f"\n{CUTS} cuts: {outcomes}; a whole deployment takes {whole:.1f} s")
