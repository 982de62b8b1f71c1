"""What `rootlet deploy` is to deploy: files given one by one, or the devices of a project; once, or at every change."""

import importlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from host_tools import boards, deploy, find_board, trees
from host_tools.failure import Exit, Failure
from host_tools.paths import BOARDS, FIRMWARE

_POLL_S = 0.3
_FILES = {
    "config": ("config.json",),
    "trust": ("trust_roots.mpy", "trust_roots.py"),
    "roots": ("roots.bin",),
    "cert": ("device.crt.der",),
    "key": ("device.key.der",),
    "psk": ("device.psk",),
    "update_key": ("update.pub",),
}


@dataclass(frozen=True)
class Job:
    """One board and what goes onto it.

    Args:
        board: an id of boards/. files: arguments of deploy.stage. port: where it is, if that is known.
        device: its id in the project, "" outside one. serial: its USB serial number, if that is known.
        folder: of the provisioned files, in a project. frozen: see deploy.stage.
    """

    board: str
    files: dict[str, Path] = field(default_factory=dict)
    port: str | None = None
    device: str = ""
    serial: str | None = None
    folder: Path | None = None
    frozen: bool = False

    def sources(self) -> list[Path]:
        """The files and folders it is made of."""
        return [FIRMWARE, BOARDS / f"{self.board}.json", *([self.folder] if self.folder else self.files.values())]

    def fresh(self) -> "Job":
        """The same job with the files that are provisioned now. Raises Failure where that has not been done."""
        return replace(self, files=_provisioned(self.folder, self.device)) if self.folder else self


def from_files(board: str | None, files: dict[str, Path], port: str | None) -> Job:
    """A job from file options. files: arguments of deploy.stage."""
    trust = files.get("trust")
    if trust is not None and trust.with_suffix(".mpy").is_file():
        files = {**files, "trust": trust.with_suffix(".mpy")}
    return Job(board or deploy.DEFAULT_BOARD, files, port)


def from_project(device: str | None, everything: bool, port: str | None) -> list[Job]:
    """The jobs of the project that this folder is in; outside one, the firmware alone. Raises Failure."""
    try:
        module: Any = importlib.import_module("host_tools.project")
        path = module.find()
    except ImportError:
        path = None
    if path is None:
        if device or everything:
            raise Failure(
                "there is no project here", "no rootlet.toml in this folder, nor above it",
                "cd to the project, or give the files: rootlet deploy --help", Exit.USAGE,
            )  # fmt: skip
        return [from_files(None, {}, port)]
    project = module.load(path)
    chosen = project.devices if everything else [project.device(device)]
    return [
        Job(one.board, port=port, device=one.id, serial=one.serial, folder=Path(project.out(one.id))) for one in chosen
    ]


def _provisioned(folder: Path, device: str) -> dict[str, Path]:
    files = {}
    for name, candidates in _FILES.items():
        found = next((folder / one for one in candidates if (folder / one).is_file()), None)
        if found:
            files[name] = found
    if "config" not in files:
        raise Failure(
            f"'{device}' is not provisioned", f"no config.json in {folder}", f"rootlet provision {device}", Exit.USAGE
        )
    return files


def run_one(job: Job, options: trees.Options, say: trees.Say) -> None:
    """Deploy one job. Raises Failure."""
    job = job.fresh()
    deploy.check(**job.files)
    boards.load(job.board)
    port = find_board.find(job.port, job.serial, command=f"rootlet deploy {job.device}".strip()).port

    def stage(out: Path, abi: str) -> Path:
        arguments: dict[str, Any] = dict(job.files)
        return deploy.stage(out, board=job.board, abi=abi, frozen=job.frozen, **arguments)

    # In a project its folder says it all; outside one, what is not given stays as it is on the board.
    trees.run(port, stage, replace(options, carry=job.folder is None), say)


def run(jobs: list[Job], options: trees.Options, say: trees.Say) -> None:
    """Deploy one job after the other; all are tried. Raises the first Failure, with how many failed."""
    failed: list[tuple[Job, Failure]] = []
    for job in jobs:
        if len(jobs) > 1:
            say(f"== {job.device}")
        try:
            run_one(job, options, say)
        except Failure as e:
            if len(jobs) == 1:
                raise
            say(str(e))
            failed.append((job, e))
    if failed:
        names = ", ".join(job.device for job, _ in failed)
        first = failed[0]
        raise Failure(
            f"{len(failed)} of {len(jobs)} devices failed: {names}", first[1].what,
            f"rootlet deploy {first[0].device}", first[1].code,
        )  # fmt: skip


def stamps(paths: Iterable[Path]) -> dict[Path, tuple[int, int]]:
    """{file: (time of its last change in ns, size)} of files and of the files in folders."""
    found = {}
    for path in paths:
        for one in [path] if path.is_file() else path.rglob("*"):
            try:
                status = one.stat()
            except OSError:
                continue
            if one.is_file() and "__pycache__" not in one.parts:
                found[one] = (status.st_mtime_ns, status.st_size)
    return found


def watch(jobs: list[Job], options: trees.Options, say: trees.Say, going: Callable[[], bool] = lambda: True) -> None:
    """Deploy now and after every change of a source. A failure is told, and the next change awaited.

    Args: going: asked at each look; False ends it.
    """
    sources = [path for job in jobs for path in job.sources()]
    before: dict[Path, tuple[int, int]] | None = None
    try:
        while going():
            now = stamps(sources)
            if now != before:
                time.sleep(_POLL_S)
                if stamps(sources) != now:
                    continue  # still being written
                before = now
                try:
                    run(jobs, options, say)
                except Failure as e:
                    say(str(e))
                say("watching for changes; end with Ctrl-C")
            time.sleep(_POLL_S)
    except KeyboardInterrupt:
        say("")
