"""Erlang's port mapper for one broker: on loopback, started where none answers, and gone after the last node.

Run as `python -m host_tools.engines.epmd PORT COMMAND…`: becomes COMMAND once the port mapper answers. A keeper in a
session of its own holds one end of a pipe whose other end only the broker has, so that it learns of the broker's end
however that comes.
"""

import contextlib
import os
import socket
import subprocess
import sys
import time

_START_S = 10
_END_S = 5


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def _quiet(*words: str) -> subprocess.Popen[bytes]:
    nothing = subprocess.DEVNULL
    return subprocess.Popen(words, stdin=nothing, stdout=nothing, stderr=nothing)


def keep(port: int) -> int:
    """Keep a port mapper for as long as standard input is open; writes a line when it answers.

    One that answers already is another node's, and serves both. The last keeper ends it: `epmd -kill` does nothing
    while a node is registered. The environment's ERL_EPMD_ADDRESS says where it listens, beside 127.0.0.1.
    """
    ours = None if _answers(port) else _quiet("epmd", "-port", str(port))
    end = time.monotonic() + _START_S
    while not _answers(port):
        if time.monotonic() > end:
            return 1
        time.sleep(0.02)  # nothing tells when it begins to listen
    os.write(1, b"ready\n")
    os.close(1)
    sys.stdin.buffer.read()
    end = time.monotonic() + _END_S
    while time.monotonic() < end and _answers(port):
        # A node that was killed is registered until the port mapper has seen its socket close.
        with contextlib.suppress(OSError, subprocess.TimeoutExpired):
            asked = subprocess.run(["epmd", "-port", str(port), "-names"], capture_output=True, timeout=5, check=False)
            if asked.stdout.count(b"\nname "):
                time.sleep(0.2)
                continue
            subprocess.run(["epmd", "-port", str(port), "-kill"], capture_output=True, timeout=5, check=False)
    if ours:
        ours.poll()
    return 0


def run(port: int, command: list[str]) -> None:
    """Become the command, with a port mapper on 127.0.0.1:port."""
    reader, writer = os.pipe()
    keeper = subprocess.Popen(
        [sys.executable, "-m", "host_tools.engines.epmd", str(port)],
        stdin=reader,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    os.close(reader)
    assert keeper.stdout is not None  # noqa: S101
    if keeper.stdout.readline() != b"ready\n":
        sys.exit(f"epmd does not answer at 127.0.0.1:{port}")
    keeper.stdout.close()
    os.set_inheritable(writer, True)
    os.execvp(command[0], command)  # noqa: S606


if __name__ == "__main__":
    if sys.argv[2:]:
        run(int(sys.argv[1]), sys.argv[2:])
    sys.exit(keep(int(sys.argv[1])))
