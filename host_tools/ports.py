"""Chooses the board that a command talks to: by its port, by its name in the project, or because it is the only one."""

import contextlib
import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from host_tools import find_board
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
    return [(one.port, one.serial) for one in find_board.connected()]


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
    serial = _serial_of(device, command, project)
    found = find_board.find(serial=serial, command=command)
    return Target(found.port, serial or found.serial)


def _serial_of(device: str | None, command: str, project: Any) -> str | None:
    if device is None:
        return None
    if project is None:
        because = "there is no rootlet.toml in this folder or above it, and only a project gives boards names"
        raise Failure(f"'{device}' is not known", because, f"{command} --port PORT", Exit.USAGE)
    number: str | None = project.device(device).serial
    return number
