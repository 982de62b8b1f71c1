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


def run_script(interpreter: str, script: Path, job: dict[str, Any], folder: Path, heap: str = HEAP) -> dict[str, Any]:
    """Run a script as SCRIPT FIRMWARE UMQTT JOB, and return the JSON that it prints."""
    path = folder / "job.json"
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
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def run_job(interpreter: str, job: dict[str, Any], folder: Path, heap: str = HEAP) -> list[dict[str, Any]]:
    """Run the steps of a job (see integration/device.py) and return what each printed.

    Args: folder: for the job file; the device's file names are relative to it.
    """
    path = folder / f"job-{interpreter}.json"
    path.write_text(json.dumps(job))
    done = subprocess.run(
        [*command(interpreter, heap), str(_DEVICE), *map(str, _modules(interpreter)), str(path)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    results: list[dict[str, Any]] = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(results) == len(job["steps"])
    return results
