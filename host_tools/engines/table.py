"""The table of engines, and the choice among them."""

import importlib
from typing import Protocol, cast

from host_tools.engines.settings import Settings, Start
from host_tools.failure import Exit, Failure

NAMES = ("mosquitto", "amqtt", "nats", "rabbitmq", "emqx")  # in the order that "auto" prefers

UNLISTED = ("mosquitto", "amqtt")  # these can let in any device of the CA; the others need to know each by name


class Engine(Protocol):
    """What a module of this package offers.

    NAME: as in --engine. INSTALL: what to type where it is absent. LIMITS: notes on connections and files, a line each.
    MOST: connections that it takes by a bound of its own, or None.
    START_S: how long a start may take at most. CLUSTER: whether it runs on several machines as one.
    """

    NAME: str
    INSTALL: str
    LIMITS: tuple[str, ...]
    MOST: int | None
    START_S: float
    CLUSTER: bool

    def find(self) -> str | None:
        """The program, or None where it is not installed."""

    def refuse(self, settings: Settings) -> None:
        """Raise Failure where this engine cannot do what is asked."""

    def configure(self, settings: Settings) -> Start:
        """Write the files of a start into settings.directory, mode 0600, and say what to run. Raises Failure."""

    def ready(self, settings: Settings) -> bool:
        """Whether clients can connect now; asked again and again after a start, each time for a second at most."""


def engine(name: str) -> Engine:
    """The engine of that name, installed or not. Raises Failure where there is none."""
    if name not in NAMES:
        known = f"{', '.join(('auto', *NAMES[:-1]))} or {NAMES[-1]}"
        raise Failure("no such broker", f"{name!r} is not {known}", "rootlet broker --engine auto", Exit.USAGE)
    return cast(Engine, importlib.import_module(f"host_tools.engines.{name}"))


def choose(name: str) -> Engine:
    """The engine to use; "auto" is Mosquitto where installed, else amqtt. Raises Failure where it is not installed."""
    if name == "auto":
        return next((found for found in map(engine, NAMES[:2]) if found.find()), engine("amqtt"))
    found = engine(name)
    if not found.find():
        raise Failure(f"{name} is not installed", f"no program for {name} was found", found.INSTALL)
    return found
