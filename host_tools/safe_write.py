"""Writes files that are never seen half-made: a private temporary file, then a rename into place."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from host_tools.failure import Failure

PUBLIC = 0o644
PRIVATE = 0o600
CA_PRIVATE = 0o400


@dataclass(frozen=True)
class File:
    """What to write: `data` (never shown in errors) to `path` with permission bits `mode`."""

    path: Path
    data: bytes
    mode: int = PUBLIC

    def __repr__(self) -> str:
        return f"File({self.path}, {len(self.data)} bytes, {self.mode:o})"


def make_directory(path: Path) -> None:
    """Make a directory only its owner can enter; one that exists is left as it is."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Failure(
            f"cannot make the directory {path}", error.strerror or str(error), "choose another one, or `ls -ld` it"
        ) from None


def write_all(files: list[File], *, force: bool = False, keep_backup: bool = True) -> None:
    """Write files that belong together: all are staged before the first is put into place.

    Args:
        files: what to write; the directories must exist.
        force: replace files that exist.
        keep_backup: a file that is replaced stays as `NAME.bak`.
    Raises: Failure where a file exists and `force` is not set, or the disk refuses.
    """
    if not force:
        for file in files:
            if os.path.lexists(file.path):
                raise _exists(file.path)
    staged: list[Path] = []
    try:
        for file in files:
            staged.append(_stage(file))
        for file, temporary in zip(files, staged, strict=True):
            _place(temporary, file.path, force, keep_backup)
    except OSError as error:
        where = error.filename or files[0].path.parent
        raise Failure(
            f"cannot write {where}", error.strerror or str(error), f"`ls -ld {where}` and `df {where}`"
        ) from None
    finally:
        for temporary in staged:
            with contextlib.suppress(OSError):
                temporary.unlink()


def _exists(path: Path) -> Failure:
    return Failure(
        f"{path} exists already",
        "a key or certificate is never overwritten unasked",
        "the same command with --force (the old file is kept as .bak), or choose another name or directory",
    )


def _stage(file: File) -> Path:
    # mkstemp opens with O_EXCL and mode 0600, so the data is private from its first byte on.
    handle, name = tempfile.mkstemp(prefix=".new-", suffix=".tmp", dir=file.path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(file.data)
            stream.flush()
            os.fchmod(stream.fileno(), file.mode)
            os.fsync(stream.fileno())
    except BaseException:
        os.unlink(name)
        raise
    return Path(name)


def _place(temporary: Path, path: Path, force: bool, keep_backup: bool) -> None:
    if force:
        if keep_backup and os.path.lexists(path):
            os.replace(path, path.with_name(path.name + ".bak"))
        os.replace(temporary, path)
        return
    try:
        # A hard link, unlike a rename, fails where another process has just made the same file.
        os.link(temporary, path)
    except FileExistsError:
        raise _exists(path) from None
    except OSError:  # a file system without hard links
        os.replace(temporary, path)


@contextlib.contextmanager
def streamed(path: Path, mode: int = PRIVATE) -> Iterator[IO[bytes]]:
    """A binary file to write, that takes the place of `path` when the block has ended well; else nothing stays.

    A pipe or a device is written as it is. Raises: Failure where the disk refuses.
    """
    if path.exists() and not path.is_file() and not path.is_dir():
        with path.open("wb") as out:
            yield out
        return
    staged = None
    try:
        handle, name = tempfile.mkstemp(prefix=".new-", suffix=".tmp", dir=path.parent)
        staged = Path(name)
        with os.fdopen(handle, "wb") as out:
            yield out
            out.flush()
            os.fchmod(out.fileno(), mode)
            os.fsync(out.fileno())
        os.replace(staged, path)
        staged = None
    except OSError as error:
        raise Failure(
            f"cannot write {path}", error.strerror or str(error), f"`ls -ld {path.parent}` and `df {path.parent}`"
        ) from None
    finally:
        if staged:
            staged.unlink(missing_ok=True)
