"""`rootlet watch`: shows what arrives at a broker."""

import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from host_tools.commands import observer
from host_tools.failure import Failure

if TYPE_CHECKING:
    from host_tools.masking import Masker
    from host_tools.readings import Message, Table
    from host_tools.watch import Place, Watcher

_TICK_S = 0.5


def watch(
    *,
    broker: observer.BrokerPlace = None,
    project: observer.Project = None,
    ca: observer.CaFile = None,
    cert: observer.Cert = None,
    key: observer.Key = None,
    user: observer.User = None,
    password_file: observer.PasswordFile = None,
    passphrase_file: observer.PassphraseFile = None,
    topic: observer.Topic = None,
    count: Annotated[int, typer.Option(help="End after this many messages; 0: never.", min=0)] = 0,
    once: Annotated[bool, typer.Option("--once", help="End after the first reading.")] = False,
    timeout: Annotated[
        float, typer.Option(help="End with an error after this many silent seconds; 0: never.", min=0)
    ] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Show what arrives at a broker, whose certificate is always verified: a live table on a terminal, else lines.

    In a project's folder broker, CA and certificate are found by themselves.

    Example: rootlet watch

    Example: rootlet watch localhost:8883 --ca ca-data/ca.crt.pem --cert observer.crt.pem --key observer.key.pem
    """
    from host_tools import masking, ports, readings
    from host_tools.watch import Watcher

    found = ports.find_project(project) if broker is None else None
    place = observer.place_of(
        "rootlet watch", broker, found, project, passphrase_file, ca, password_file,
        cert=cert, key=key, user=user, topic=topic,
    )  # fmt: skip
    watcher = Watcher(
        place.host, place.port, place.ca, place.cert, place.key, user=place.user, password=place.password,
        topic=place.topic, longest=readings.LONGEST_PAYLOAD, tells_gaps=True,
    )  # fmt: skip
    secrets = [*masking.known(found, Path()), *([place.password] if place.password else [])]
    masker = masking.Masker(secrets)
    table = readings.Table(whole=readings.whole_topic(place.topic))
    live = not as_json and sys.stdout.isatty()
    try:
        with watcher, _screen(table, watcher, place) if live else _lines(table, as_json) as show:
            _watch(
                watcher,
                masker,
                table,
                show,
                count=1 if once else count,
                readings_only=once,
                timeout_s=timeout,
            )
    except KeyboardInterrupt:
        raise typer.Exit(0) from None
    except BrokenPipeError:  # whoever read has enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        raise typer.Exit(0) from None


class _Show:
    """Shows messages; `tick` is called when nothing came for a while."""

    def message(self, topic: str, payload: bytes, message: "Message") -> None:
        """One message that came."""

    def tick(self) -> None:
        """Time has passed."""

    def gap(self) -> None:
        """The broker was away for a while, and is back."""


def _watch(
    watcher: "Watcher",
    masker: "Masker",
    table: "Table",
    show: _Show,
    *,
    count: int,
    readings_only: bool,
    timeout_s: float,
) -> None:
    from host_tools import readings

    seen = 0
    heard = time.monotonic()
    while not count or seen < count:
        try:
            topic, payload = watcher.next(min(_TICK_S, timeout_s or _TICK_S))
        except TimeoutError:
            if timeout_s and time.monotonic() - heard >= timeout_s:
                because = f"{timeout_s:g} s of silence"
                raise Failure("nothing arrived", because, "check the board: rootlet logs") from None
            show.tick()
            continue
        heard = time.monotonic()
        if not topic:
            table.unwatched()
            show.gap()
            continue
        cut = len(payload) >= readings.LONGEST_PAYLOAD
        payload = masker.text(payload.decode("utf-8", "replace"), cut).encode()
        topic = masker.text(topic)
        masker.restarted()
        message = table.add(topic, payload, heard)
        seen += message.kind == "reading" or not readings_only
        show.message(topic, payload, message)


@contextmanager
def _lines(table: "Table", as_json: bool) -> Iterator[_Show]:
    from host_tools import readings
    from host_tools.masking import harmless

    class Lines(_Show):
        def message(self, topic: str, payload: bytes, message: "Message") -> None:
            if as_json:
                now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
                print(readings.as_json(topic, payload, message, table, now), flush=True)
            else:
                # What was published must not drive the terminal.
                text = harmless(payload.decode("utf-8", "replace"))
                print(f"{harmless(topic)}  {text}", flush=True)

        def gap(self) -> None:
            typer.echo("the broker was away and is back; what came meanwhile was not seen here", err=True)

    yield Lines()


@contextmanager
def _screen(table: "Table", watcher: "Watcher", place: "Place") -> Iterator[_Show]:
    from rich.console import Console
    from rich.live import Live

    from host_tools import readings

    console = Console(highlight=False, markup=False, emoji=False)
    blocks = readings.BLOCKS if "utf" in (console.encoding or "").lower() else readings.PLAIN_BLOCKS

    def picture() -> object:
        notes = ["" if watcher.connected else "the broker is gone; trying again, every 5 s at most"]
        notes += [f"{watcher.dropped} messages came faster than they could be shown"] if watcher.dropped else []
        where = f"{place.host}:{place.port} {readings.short(place.topic)}"
        return readings.view(table, time.monotonic(), where, blocks, "; ".join(filter(None, notes)))

    class Screen(_Show):
        drawn = 0.0

        def message(self, topic: str, payload: bytes, message: "Message") -> None:
            if time.monotonic() - self.drawn > _TICK_S / 2:
                self.tick()

        def tick(self) -> None:
            self.drawn = time.monotonic()
            live.update(picture(), refresh=True)  # type: ignore[arg-type]

    screen = Screen()
    with Live(console=console, auto_refresh=False, vertical_overflow="ellipsis") as live:
        try:
            yield screen
        finally:
            screen.tick()
