"""Runs the tests of the pure modules again, on real MicroPython with a 128K heap."""

import subprocess
from pathlib import Path

import pytest

from host_tools.paths import FIRMWARE
from tests.device_runner import command

PURE = Path(__file__).parent / "pure"
MODULES = sorted(p.stem for p in PURE.glob("test_*.py"))

RUNNER = """
import sys
sys.path[:0] = sys.argv[1:3]
module = __import__(sys.argv[3])
names = [n for n in dir(module) if n.startswith("test_")]
for name in names:
    getattr(module, name)()
print("passed", len(names))
"""


@pytest.mark.parametrize("module", MODULES)
def test_pure_module(module: str, tmp_path: Path) -> None:
    runner = tmp_path / "runner.py"
    runner.write_text(RUNNER)
    done = subprocess.run(
        [*command("micropython"), str(runner), str(FIRMWARE), str(PURE), module],
        capture_output=True,
        text=True,
        timeout=60,
        cwd=tmp_path,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    count = (PURE / f"{module}.py").read_text().count("\ndef test_")
    assert done.stdout.strip() == f"passed {count}"
    assert count > 0
