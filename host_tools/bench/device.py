"""A real board as the place of measurements: in its own WiFi, from a folder of its own, which is removed afterwards."""

import contextlib
import json
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from host_tools import deploy, mpy, trees
from host_tools.bench.place import ON_BOARD, TIMEOUT_S, Place, put, results_of
from host_tools.failure import Failure

FOLDER = "rootlet_bench"
_ROOM = 64 * 1024  # bytes on the flash beside the firmware: roots, an outbox
_SLOWER = 5  # times, than the virtual board, in timeouts
_COPY_S = 600
_REMOVE = f"""
import os
os.chdir("/")
def remove(folder):
    for row in list(os.ilistdir(folder)):
        name = folder + "/" + row[0]
        if row[1] == 0x4000:
            remove(name)
        else:
            os.remove(name)
    os.rmdir(folder)
if {FOLDER!r} in os.listdir("/"):
    remove("/{FOLDER}")
"""
_BOARD = """
import json, sys
for path in [p for p in sys.path if p in ("/app_a", "/app_b")] + [""]:
    try:
        with open(path + "/board.json") as f:
            print("board", json.load(f)["id"])
            break
    except OSError:
        pass
"""


def towards(address: str) -> str:
    """This machine's address as somebody at another address sees it. Nothing is sent."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
        s.connect((address, 9))
        found: str = s.getsockname()[0]
        return found


class DevicePlace(Place):
    """A board on a serial port. Its program is stopped, and started again at the end; its files stay as they are.

    Args: port: serial port. address: what the board calls this machine; found out where it is None.
    Entering copies the firmware into the folder FOLDER of its flash and joins WiFi by its config.json; leaving removes
    the folder and restarts the board. Raises Failure: no board, no room, no WiFi.
    """

    virtual = False

    def __init__(self, port: str, address: str | None = None) -> None:
        self.port = port
        self._wanted = address
        self._folder = tempfile.TemporaryDirectory(prefix="rootlet-bench-")
        self._tree = Path(self._folder.name) / FOLDER

    def __enter__(self) -> Self:
        try:
            self._prepare()
        except BaseException:
            self._leave(quietly=True)
            raise
        return self

    def _prepare(self) -> None:
        board = trees.ask(self.port)
        said = deploy._mpremote(self.port, "exec", _BOARD).split()
        if "board" not in said[:-1]:
            raise Failure(f"nobody knows what {self.port} is", "it has no board.json", "rootlet deploy")
        self.board = said[said.index("board") + 1]
        deploy.stage(self._tree, board=self.board, abi=mpy.abi(board.mpy))
        for started in ("boot.py", "main.py"):
            (self._tree / started).unlink()
        needs = _ROOM + sum(path.stat().st_size for path in self._tree.rglob("*") if path.is_file())
        if board.free < needs and not self._left_behind():
            because = f"{board.free} bytes are free, {needs} are needed"
            raise Failure(
                "there is no room on the board",
                because,
                f"mpremote connect {self.port} fs ls   (and remove what is not needed)",
            )
        output = self._call(ON_BOARD / "facts.py", self._tree, TIMEOUT_S)
        joined = [line for line in output.splitlines() if line.startswith("joined ")]
        theirs = json.loads(joined[-1].removeprefix("joined "))
        self.address = self._wanted or towards(theirs)
        self.bind = socket.gethostbyname(self.address)
        self._facts = results_of(output, ON_BOARD / "facts.py")[0]

    def _left_behind(self) -> bool:
        """Whether a measurement that was cut off has left its folder, which is used again."""
        return f" {FOLDER}/" in deploy._mpremote(self.port, "fs", "ls", ":/")

    def _call(self, script: Path, tree: Path, timeout_s: float) -> str:
        """Copy a tree, join, run. Returns what was printed."""
        join = f"FOLDER = {'/' + FOLDER!r}\n{(ON_BOARD / 'joining.py').read_text()}"
        deploy._mpremote(self.port, "fs", "cp", "-r", FOLDER, ":/", timeout_s=_COPY_S, cwd=tree.parent)
        return deploy._mpremote(self.port, "exec", join, "+", "run", str(script.resolve()), timeout_s=timeout_s)

    def run(
        self, script: Path, job: Mapping[str, Any], files: Mapping[str, Path | bytes], timeout_s: float = TIMEOUT_S
    ) -> list[dict[str, Any]]:
        """See Place.run. Files of runs before stay until the end, where none of these has their name."""
        tree = Path(tempfile.mkdtemp(dir=self._folder.name)) / FOLDER
        put(tree, job, files)
        return results_of(self._call(script, tree, timeout_s * _SLOWER), script)

    def facts(self) -> dict[str, Any]:
        """See Place.facts."""
        return {"board": self.board, "virtual": False} | self._facts

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._leave(quietly=kind is not None)

    def _leave(self, quietly: bool) -> None:
        self._folder.cleanup()
        try:
            deploy._mpremote(self.port, "exec", _REMOVE, timeout_s=60)
        except Failure:
            if not quietly:
                raise
        finally:
            with contextlib.suppress(Failure):  # what went wrong before is the one to tell
                deploy._mpremote(self.port, "reset", timeout_s=20)
