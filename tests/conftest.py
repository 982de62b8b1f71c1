"""What every test may use: the firmware and the few MicroPython names it needs, on this interpreter too."""

import sys
from pathlib import Path

_TESTS = Path(__file__).parent
sys.path[:0] = [str(_TESTS.parent), str(_TESTS / "cpython")]

import micropython_api  # noqa: F401

from host_tools import umqtt

sys.path.append(str(umqtt.fetch()))
