"""Chooses the board that a command talks to: by its port, by its name in the project, or because it is the only one."""

import contextlib
import importlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_tools.failure import Exit, Failure


@dataclass(frozen=True)
class Target:
    """A board: its port now, and its USB serial number where that is how it was named."""

    port: str
    serial: str | None = None

    def now(self) -> str:
        """The port it has now: a board that was plugged in again may have another."""
        if self.serial is not None:
            for device, number in plugged_in():
                if number == self.serial:
                    return device
        return self.port


def plugged_in() -> list[tuple[str, str | None]]:
    """(port, USB serial number) of every USB serial port, by port."""
    from serial.tools import list_ports

    # A board is a USB device; serial ports built into the computer have no vendor id.
    return sorted((str(p.device), p.serial_number) for p in list_ports.comports() if p.vid is not None)


def find_project(start: Path | None = None) -> Any:
    """The project of this folder or the one given, or None. Raises Failure where it is damaged."""
    try:
        project = importlib.import_module("host_tools.project")
    except ModuleNotFoundError:
        return None
    path = project.find(start)
    return None if path is None else project.load(path)


def any_project() -> Any:
    """As find_project, for who can do without: None where it is damaged."""
    with contextlib.suppress(Failure):
        return find_project()
    return None


def choose(device: str | None, port: str | None, command: str, project: Any = None) -> Target:
    """The one board that is meant.

    Args: device: id in the project. port: serial port. command: such as "rootlet logs", for the words of a failure.
    Raises: Failure: usage (2) where it is ambiguous or unknown, listing what could be typed; no device (3).
    """
    if port is not None:
        return Target(port)
    there = plugged_in()
    serial = _serial_of(device, command, project)
    if serial is not None:
        for found, number in there:
            if number == serial:
                return Target(found, serial)
        names = ", ".join(number or name for name, number in there) or "no board at all"
        because = f"its USB serial number is {serial}; plugged in: {names}"
        raise Failure(f"'{device}' is not plugged in", because, f"plug it in, or {command} --port PORT", Exit.NO_DEVICE)
    if not there:
        fix = "plug the board in by a cable that carries data; without a board: rootlet demo"
        raise Failure("no board found", "no USB serial port is there", fix, Exit.NO_DEVICE)
    if len(there) > 1:
        names = ", ".join(f"{name} ({number or 'no serial number'})" for name, number in there)
        choices = "  or  ".join(f"{command} --port {shlex.quote(name)}" for name, _ in there)
        raise Failure("several boards found", names, choices, Exit.USAGE)
    return Target(*there[0])


def _serial_of(device: str | None, command: str, project: Any) -> str | None:
    if device is None:
        return None
    if project is None:
        because = "there is no rootlet.toml in this folder or above it, and only a project gives boards names"
        raise Failure(f"'{device}' is not known", because, f"{command} --port PORT", Exit.USAGE)
    number: str | None = project.device(device).serial
    return number
