"""Bytes of heap: of a running gateway by step, and of each module when it is loaded; and bytes of flash by module."""

import ast
import tempfile
from pathlib import Path
from typing import Any

from host_tools import deploy
from host_tools.bench import gateways
from host_tools.bench.place import ON_BOARD, Place
from host_tools.bench.rows import Row
from host_tools.paths import FIRMWARE

GROUP = "memory"
STEPS = ("configuration", "loaded", "idle", "handshake begins", "handshake", "steady")
READINGS = 5
# A gateway with one sensor, mutual TLS and an embedded root.
LOADED = ("start", "gateway", "sensors", "clock", "trust", "tls", "mqtt", "outbox", "link", "telemetry")


def order(names: tuple[str, ...] = LOADED, folder: Path = FIRMWARE / "rootlet") -> list[str]:
    """These modules and those they import at their top, each after what it imports."""
    found: list[str] = []

    def add(name: str) -> None:
        if name in found or not (folder / f"{name}.py").exists():
            return
        for node in ast.parse((folder / f"{name}.py").read_text(encoding="utf-8")).body:
            if isinstance(node, ast.ImportFrom) and node.level:
                for needed in [node.module] if node.module else [alias.name for alias in node.names]:
                    add(needed)
        found.append(name)

    for name in names:
        add(name)
    return found


def _row(name: str, values: list[float], to: str | None = None, note: str = "") -> Row:
    return Row(GROUP, name, "B", tuple(values), to, "less", note, allowance=0.1)


def steps(place: Place, frozen: bool, rounds: int) -> dict[str, list[float]]:
    """Bytes in use at each of STEPS of a gateway, above what is in use before boot.py; one value a round."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory() as folder, gateways.surroundings(place, frozen) as here:
        sensors = [{"kind": "internal_temperature", "name": "chip", "every_s": 0.1}]
        with gateways.gateway(here, Path(folder), sensors=sensors) as made:
            for _ in range(rounds):
                [result] = here.run(ON_BOARD / "heap.py", made.job | {"readings": READINGS}, made.files)
                for step in STEPS:
                    found.setdefault(step, []).append(result["bytes"][step])
    return found


def imports(place: Place, form: str) -> dict[str, float]:
    """Bytes that each module takes when it is loaded after those it needs. Args: form: ".py", ".mpy" or "frozen"."""
    names = ["umqtt.simple", *[f"rootlet.{name}" for name in order()]]
    job: dict[str, Any] = {"built_in": gateways.BUILT_IN, "modules": names}
    files: dict[str, Path | bytes] = {}
    if form == ".py":
        job["first"] = "source"
        files = {f"source/rootlet/{path.name}": path for path in (FIRMWARE / "rootlet").glob("*.py")}
    with gateways.surroundings(place, form == "frozen") as here:
        [result] = here.run(ON_BOARD / "importing.py", job, files)
    return {name.removeprefix("rootlet."): bytes_ for name, bytes_ in result["bytes"].items()}


def flash() -> dict[str, int]:
    """Bytes of each compiled module."""
    with tempfile.TemporaryDirectory() as folder:
        return {path.stem: path.stat().st_size for path in deploy.build_firmware(Path(folder))}


def measure(place: Place, quick: bool) -> list[Row]:
    """Rows in bytes. Where the place is a board, these are still of the virtual one, whose objects are 64-bit."""
    rows = []
    for frozen in (False, True):
        form = "frozen" if frozen else ".mpy"
        for step, values in steps(place, frozen, 1 if quick else 3).items():
            to = None if not frozen else f"gateway, {step}, .mpy"
            rows.append(_row(f"gateway, {step}, {form}", values, to, "above the interpreter with its built-in modules"))
    sizes = flash()
    by_form = {form: imports(place, form) for form in (".mpy", ".py", "frozen")}
    for form, found in by_form.items():
        to = None if form == ".mpy" else "all modules of it, .mpy"
        rows.append(_row(f"all modules of it, {form}", [sum(found.values())], to, "heap, once loaded"))
    for name in ["umqtt.simple", *order()]:
        for form, found in by_form.items():
            to = None if form == ".mpy" else f"{name}, .mpy"
            rows.append(_row(f"{name}, {form}", [found[name]], to if by_form[".mpy"][name] else None))
    rows += [_row(f"{name}, flash", [size]) for name, size in sorted(sizes.items())]
    return rows
