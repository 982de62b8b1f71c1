"""Runs the firmware in a process of its own, on CPython or on real MicroPython with a bounded heap."""

import atexit
import json
import shutil
import subprocess
import sys
import tempfile
from functools import lru_cache
from pathlib import Path
from typing import Any

from host_tools.paths import FIRMWARE

HEAP = "128K"
INTERPRETERS = ("cpython", "micropython")
_DEVICE = Path(__file__).parent / "integration" / "device.py"


def command(interpreter: str, heap: str = HEAP) -> list[str]:
    """How to start an interpreter."""
    if interpreter == "cpython":
        return [sys.executable]
    return [str(Path(sys.executable).parent / "micropython"), "-X", f"heapsize={heap}"]


@lru_cache
def compiled() -> Path:
    """The firmware as it lies on a board: compiled."""
    from host_tools.deploy import build_firmware

    folder = Path(tempfile.mkdtemp(prefix="rootlet-mpy-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    build_firmware(folder / "rootlet")
    return folder


def _modules(interpreter: str) -> tuple[Path, Path]:
    """Where the firmware and umqtt are."""
    from host_tools import umqtt

    return (FIRMWARE if interpreter == "cpython" else compiled()), umqtt.fetch()


def _run(interpreter: str, script: Path, job: dict[str, Any], folder: Path, heap: str) -> list[dict[str, Any]]:
    """Run SCRIPT FIRMWARE UMQTT JOB in a folder; returns the JSON of each line that it prints."""
    path = folder / f"job-{interpreter}.json"
    path.write_text(json.dumps(job))
    done = subprocess.run(
        [*command(interpreter, heap), str(script), *map(str, _modules(interpreter)), str(path)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def run_job(interpreter: str, job: dict[str, Any], folder: Path, heap: str = HEAP) -> list[dict[str, Any]]:
    """Run the steps of a job (see integration/device.py) and return what each printed.

    Args: folder: for the job file; the device's file names are relative to it.
    """
    results = _run(interpreter, _DEVICE, job, folder, heap)
    assert len(results) == len(job["steps"])
    return results


def run_script(interpreter: str, script: Path, job: dict[str, Any], folder: Path, heap: str = HEAP) -> dict[str, Any]:
    """Run a script of a test's own, which prints one line of JSON, and return that."""
    [result] = _run(interpreter, script, job, folder, heap)
    return result
