"""Runs a virtual board in the foreground, until Ctrl-C or SIGTERM."""

import shlex
import signal
import sys
import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from host_tools.failure import Failure
from host_tools.sim.board import VirtualBoard, read_script
from host_tools.sim.surroundings import Surroundings

if TYPE_CHECKING:
    from host_tools.servers import SntpServer

_LOOK_S = 0.5


def serve(
    say: Callable[[str], None],
    board: str,
    fs: Path,
    script: Path | None,
    link: Path | None,
    frozen: bool = False,
    time_port: int | None = None,
) -> None:
    """Run it; follows changes of the script file. Must be called in the main thread.

    Args: say: takes each line for the user. time_port: of an SNTP server beside it, on loopback; 0: a free one, None:
        no server. The others: see VirtualBoard.
    Raises: Failure as VirtualBoard does.
    """
    ended = threading.Event()
    former = {number: signal.signal(number, lambda *_: ended.set()) for number in (signal.SIGINT, signal.SIGTERM)}
    around = Surroundings()
    try:
        first, peripherals = around.arrange(read_script(script) if script else {})
        virtual = VirtualBoard(fs, board=board, script=first, link=link, frozen=frozen)
        seen = _stamp(script)
        with virtual, _time_server(time_port) as server:
            if server:
                say(f'time: in rootlet.toml, below [clock]: servers = ["127.0.0.1:{server.port}"]')
            port = shlex.quote(str(link or virtual.port))
            say(f"port: {port}")
            say(f"try: {shlex.quote(sys.executable)} -m mpremote connect {port} repl")
            if peripherals is not None:
                say(f"Bluetooth: {peripherals} peripherals around it")
            say(f"its files: {fs}; end it with Ctrl-C")
            while not ended.wait(_LOOK_S):
                now = _stamp(script)
                if script is not None and now != seen:
                    seen = now
                    _reload(say, virtual, around, script)
    finally:
        around.close()
        for number, handler in former.items():
            signal.signal(number, handler)


def _time_server(port: int | None) -> AbstractContextManager["SntpServer | None"]:
    from host_tools.servers import SntpServer

    if port is None:
        return nullcontext()
    try:
        return SntpServer(port=port)
    except OSError as e:
        because = f"127.0.0.1:{port}: {e.strerror}"
        raise Failure("the time server cannot start there", because, "--time 0, or another port") from None


def _stamp(path: Path | None) -> tuple[int, int]:
    try:
        status = path.stat() if path else None
    except OSError:
        status = None
    return (status.st_mtime_ns, status.st_size) if status else (0, 0)


def _reload(say: Callable[[str], None], virtual: VirtualBoard, around: Surroundings, script: Path) -> None:
    try:
        virtual.update_script(around.arrange(read_script(script))[0])
    except Failure as failure:
        say(f"the script is kept as it was: {failure.because}")
    else:
        say("the script was read again")
        if not virtual.has_power:
            virtual.power_on()
            say("the power is back")
