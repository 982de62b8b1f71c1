"""Runs groups of measurements in one place and gathers their rows."""

import datetime
import importlib
import platform
from collections.abc import Callable, Iterable
from typing import Any

from host_tools.bench.place import Place
from host_tools.bench.rows import Row
from host_tools.failure import Exit, Failure

GROUPS = ("publish", "fetch", "handshakes", "roots", "memory", "startup", "tools", "sizes")
VIRTUAL_ONLY = ("memory", "startup", "tools", "sizes")  # what resets a board, counts its heap, or needs none


def chosen(names: Iterable[str], virtual: bool = True) -> list[str]:
    """The groups of these names, in the order of GROUPS; all where there are none.

    Args: virtual: on the virtual board; a real one has no VIRTUAL_ONLY.
    Raises: Failure on an unknown one, or one that cannot be.
    """
    names = list(names)
    for name in names:
        if name in VIRTUAL_ONLY and not virtual:
            because = "it is measured on the virtual board only"
            raise Failure(f"{name} cannot be measured on a board", because, f"rootlet bench --group {name}", Exit.USAGE)
    unknown = [name for name in names if name not in GROUPS]
    if unknown:
        because = f"there are {', '.join(GROUPS)}"
        raise Failure(f"no group of measurements is called {unknown[0]!r}", because, "rootlet bench", Exit.USAGE)
    possible = [name for name in GROUPS if virtual or name not in VIRTUAL_ONLY]
    return [name for name in possible if not names or name in names]


def machine() -> dict[str, Any]:
    """This machine, as far as it bears on the figures."""
    import os

    try:
        with open("/proc/cpuinfo") as f:
            models = [line.partition(":")[2].strip() for line in f if line.startswith("model name")]
    except OSError:
        models = []
    return {
        "cpu": models[0] if models else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
    }


def versions() -> dict[str, str]:
    """What the figures depend on."""
    import ssl

    from host_tools import umqtt

    return {
        "Python": platform.python_version(),
        "OpenSSL": ssl.OPENSSL_VERSION.split()[1],
        "umqtt.simple": umqtt.VERSION,
    }


def run(place: Place, groups: Iterable[str], quick: bool, say: Callable[[str], None]) -> dict[str, Any]:
    """Measure. Args: say: told the name of each group as it begins. Returns what report.write takes."""
    rows: list[Row] = []
    for name in groups:
        say(name)
        rows += importlib.import_module(f"host_tools.bench.{name}").measure(place, quick)
    return {
        "date": datetime.date.today().isoformat(),
        "quick": quick,
        "place": place.facts(),
        "machine": machine(),
        "versions": versions(),
        "rows": rows,
    }
