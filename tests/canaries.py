"""Looks for planted secrets: in text, in command lines while commands run, and in files that others could read."""

import base64
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from host_tools.paths import ROOT

_EVERY_S = 0.04
_LARGEST = 1 << 24
# Runs in every Python that a command starts: processes that live shorter than a look at /proc are seen too.
_AUDIT = """
import os, sys
def _hook(event, args, _log=os.environ.get("CANARY_LOG")):
    if _log and event in ("subprocess.Popen", "os.exec", "os.posix_spawn", "os.system"):
        line = repr(args[1] if len(args) > 1 else args)
        fd = os.open(_log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.write(fd, (event + " " + line + chr(10)).encode("utf-8", "replace"))
        os.close(fd)
sys.addaudithook(_hook)
"""


def forms(secret: bytes) -> list[bytes]:
    """How a secret may look where it has leaked: as it is, in hexadecimal, in base64 at any offset, in Python."""
    found = {secret, secret.hex().encode(), secret.hex().upper().encode(), secret.hex(" ").encode()}
    found |= {secret.hex(":").encode(), repr(secret)[2:-1].encode(), ", ".join(map(str, secret)).encode()}
    for offset in range(3):
        # Without the ends, which depend on what stands beside it.
        middle = base64.b64encode(b"\0" * offset + secret)[4 if offset else 0 : -4]
        found |= {middle, middle.replace(b"+", b"-").replace(b"/", b"_")}
    return [form for form in found if len(form) >= 8]


class Canaries:
    """The secrets that were planted. Args: secrets: name: bytes, each long and like nothing else."""

    def __init__(self, **secrets: bytes) -> None:
        self.secrets = secrets
        self._forms = {name: forms(secret) for name, secret in secrets.items()}

    def within(self, data: bytes) -> list[str]:
        """Names of the secrets that are in `data`."""
        # A terminal or a wrapped text breaks lines.
        joined = data.replace(b"\r", b"").replace(b"\n", b"")
        return [n for n, found in self._forms.items() if any(form in data or form in joined for form in found)]

    def in_file(self, path: Path) -> list[str]:
        """Names of the secrets in a file; none where it has gone."""
        try:
            if not path.is_file() or path.is_symlink() or path.stat().st_size > _LARGEST:
                return []
            return self.within(path.read_bytes())
        except OSError:
            return []


def exposed(root: Path) -> Iterator[Path]:
    """The files below a folder that other users could read."""
    try:
        entries = list(os.scandir(root))
    except OSError:
        return
    for entry in entries:
        try:
            mode = entry.stat(follow_symlinks=False).st_mode
        except OSError:
            continue
        if entry.is_dir(follow_symlinks=False):
            if mode & 0o011:
                yield from exposed(Path(entry.path))
        elif mode & 0o044:
            yield Path(entry.path)


def of_git() -> list[Path]:
    """The files of the checkout that git has, or would take."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=False, timeout=30)
    return [ROOT / os.fsdecode(name) for name in done.stdout.split(b"\0") if name]


class Lookout:
    """While entered, looks at every command line of the machine and at what others could read of some folders.

    Args: log: where commands write what they start; `environment` makes them. leaks: what was found.
    """

    def __init__(self, canaries: Canaries, folders: list[Path], log: Path) -> None:
        self._canaries, self._folders, self._log = canaries, folders, log
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)
        self.leaks: set[str] = set()
        self.seen = 0
        self._known: dict[Path, tuple[int, int, int]] = {}

    def environment(self, folder: Path) -> dict[str, str]:
        """Variables for a command. folder: one to put the hook into."""
        folder.mkdir(exist_ok=True)
        (folder / "sitecustomize.py").write_text(_AUDIT)
        path = os.pathsep.join([str(folder), str(ROOT), str(ROOT / "firmware")])
        return {**os.environ, "PYTHONPATH": path, "CANARY_LOG": str(self._log), "PYTHONUNBUFFERED": "1"}

    def _look(self) -> None:
        while not self._done.is_set():
            self.look()
            self._done.wait(_EVERY_S)

    def look(self) -> None:
        """Look once."""
        for entry in os.scandir("/proc"):
            if entry.name.isdigit():
                try:
                    with open(f"/proc/{entry.name}/cmdline", "rb") as f:
                        line = f.read(65536)
                except OSError:
                    continue
                self.leaks |= {f"{name} in the command line of a process" for name in self._canaries.within(line)}
        for folder in self._folders:
            for path in filter(self._is_new, exposed(folder)):
                for name in self._canaries.in_file(path):
                    self.leaks.add(f"{name} in {path}, which others can read")

    def _is_new(self, path: Path) -> bool:
        """Whether it was not looked at as it is."""
        try:
            stat = path.stat()
        except OSError:
            return False
        now = (stat.st_ino, stat.st_size, stat.st_mtime_ns)
        before, self._known[path] = self._known.get(path), now
        return before != now

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, k: type[BaseException] | None, e: BaseException | None, t: TracebackType | None) -> None:
        self._done.set()
        self._thread.join()
        self.look()
        if self._log.exists():
            lines = self._log.read_bytes()
            self.seen = lines.count(b"\n")
            self.leaks |= {f"{name} in what a command starts" for name in self._canaries.within(lines)}
            self._log.unlink()
