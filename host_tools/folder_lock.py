"""A lock on a folder for one broker: it ends with the processes that hold it, however they end."""

import fcntl
import os
import shlex
from pathlib import Path
from typing import IO

from host_tools.failure import Failure

NAME = "lock"


def hold(folder: Path) -> IO[bytes]:
    """Take the lock; it is given back when the returned file is closed by all processes that have it.

    Raises: Failure where another process has it, with the folder and its id.
    """
    lock = os.fdopen(os.open(folder / NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600), "r+b", buffering=0)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        said = lock.read(20)
        lock.close()
        holder = f"process {said.decode()}" if said.isdigit() else "another process"
        because = f"{holder} runs a broker with the files of {folder}"
        fix = f"end that one, or give another place: --folder {shlex.quote(str(folder.parent) + '-2')}"
        raise Failure("a broker uses that folder already", because, fix) from None
    tell(lock, os.getpid())
    return lock


def tell(lock: IO[bytes], pid: int) -> None:
    """Say in the lock which process it is that others should look at."""
    lock.seek(0)
    lock.truncate()
    lock.write(str(pid).encode())
