"""Where scripts are measured and servers listen: a virtual board, or one on a serial port."""

import json
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from host_tools import deploy
from host_tools.bench.rows import parse_results
from host_tools.failure import Failure

ON_BOARD = Path(__file__).parent / "on_board"
TIMEOUT_S = 120.0


class Place(ABC):
    """A board that scripts run on, and the address by which it reaches servers on this machine.

    A context manager. Scripts use names of files without a folder: on a real board they lie in one of their own.

    Attributes:
        board: id of a file in boards/. virtual: it exists only here.
        address: what the board calls this machine, for URLs and the names in servers' certificates.
        bind: the address that servers listen on.
    """

    board: str
    virtual: bool
    address: str
    bind: str

    @abstractmethod
    def run(
        self, script: Path, job: Mapping[str, Any], files: Mapping[str, Path | bytes], timeout_s: float = TIMEOUT_S
    ) -> list[dict[str, Any]]:
        """Put firmware, job and files onto the board and run the script there by mpremote.

        Args: script: usually of ON_BOARD. job: becomes bench.json. files: name on the board to content.
        Returns its "result {json}" lines. Raises Failure; also where there is no such line.
        """

    def facts(self) -> dict[str, Any]:
        """board, virtual, micropython (version), machine, hz, bits (32 or 64), heap_bytes."""
        [found] = self.run(ON_BOARD / "facts.py", {}, {}, 30)
        return {"board": self.board, "virtual": self.virtual} | found

    def __enter__(self) -> Self:
        return self

    def __exit__(  # noqa: B027  (a place may have nothing to clean up)
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass


def put(folder: Path, job: Mapping[str, Any], files: Mapping[str, Path | bytes]) -> None:
    """Write job and files into a folder. Names with folders in them are made."""
    for name, content in {"bench.json": json.dumps(job).encode(), **files}.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(content if isinstance(content, bytes) else content.read_bytes())
        target.chmod(0o600)


def results_of(output: str, script: Path) -> list[dict[str, Any]]:
    """Its result lines. Raises Failure where there is none."""
    found = parse_results(output)
    if not found:
        because = output.strip()[-400:] or "it printed nothing"
        raise Failure(f"{script.name} ended without a result", because, "rootlet bench --debug")
    return found


class VirtualPlace(Place):
    """The virtual board, fresh for each run.

    Args: board: id. heap_bytes: other than the board's own. frozen: the firmware is in the interpreter.
    script: its surroundings, see sim.board.VirtualBoard.
    """

    virtual = True
    address = "localhost"
    bind = "127.0.0.1"

    def __init__(
        self,
        board: str = "pico_w",
        heap_bytes: int | None = None,
        frozen: bool = False,
        script: dict[str, Any] | None = None,
    ) -> None:
        self.board = board
        self._heap_bytes = heap_bytes
        self._frozen = frozen
        self._script = script
        self._folder = tempfile.TemporaryDirectory(prefix="rootlet-bench-")
        self._staged: Path | None = None

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._folder.cleanup()

    def tree(self) -> Path:
        """A fresh copy of the firmware as deploy.stage lays it out, without boot.py and main.py."""
        if self._staged is None:
            self._staged = deploy.stage(Path(self._folder.name) / "staged", board=self.board, frozen=self._frozen)
            for started in ("boot.py", "main.py"):
                (self._staged / started).unlink()
        target = Path(tempfile.mkdtemp(dir=self._folder.name))
        shutil.copytree(self._staged, target, dirs_exist_ok=True)
        return target

    def run(
        self, script: Path, job: Mapping[str, Any], files: Mapping[str, Path | bytes], timeout_s: float = TIMEOUT_S
    ) -> list[dict[str, Any]]:
        """See Place.run."""
        from host_tools.sim.board import VirtualBoard

        tree = self.tree()
        put(tree, job, files)
        with VirtualBoard(tree, self.board, self._script, heap_bytes=self._heap_bytes, frozen=self._frozen) as board:
            found = results_of(deploy.run_on_board(board.port, script, timeout_s=timeout_s), script)
        shutil.rmtree(tree)
        return found

    def facts(self) -> dict[str, Any]:
        """See Place.facts; hz is None: the board has this machine's speed."""
        return super().facts() | {"hz": None}
