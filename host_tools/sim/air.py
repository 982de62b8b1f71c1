"""The air around virtual boards: Bluetooth LE peripherals and, for each board that switches its radio on, a central.

Peripherals and centrals have the real host stack (ATT, GATT, SMP) of bumble, on one simulated link (air_link.py). A
board's `bluetooth` stand-in (modules/bluetooth.py) is served by air_board.py.
"""

import asyncio
import contextlib
import logging
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Protocol, Self

from bumble.link import LocalLink

from host_tools.sim.air_board import Board
from host_tools.sim.air_link import Link

logger = logging.getLogger(__name__)

STEP_S = 20  # longest that one step of the thread, such as the start of a peripheral, may take


class Peripheral(Protocol):
    """What the air carries beside boards."""

    async def start(self, link: LocalLink) -> None:
        """Begin, in the air's loop. Args: link: Bumble's link, which carries the air."""

    async def stop(self) -> None:
        """End, in the air's loop."""


class Air:
    """Peripherals and boards in reach of each other; a context manager, or start() and stop().

    Args:
        supervision_s: after how many seconds a connection to a radio that is gone is lost; None: as the board asks for.
    """

    def __init__(self, supervision_s: float | None = None) -> None:
        self._supervision_s = supervision_s
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="air", daemon=True)
        self._link: Link | None = None
        self._server: asyncio.Server | None = None
        self._peripherals: list[Peripheral] = []
        self._boards: dict[Board, asyncio.Task[None]] = {}
        self.port = 0
        self._sent = self._dropped = 0

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def start(self) -> Self:
        """Begin; `port` is the one for the script of boards: {"ble": {"port": air.port}}."""
        self._thread.start()
        try:
            self.run(self._start())
        except BaseException:
            self.stop()
            raise
        return self

    def run(self, work: Coroutine[Any, Any, Any], timeout_s: float = STEP_S) -> Any:
        """Run a coroutine in the air's loop, from another thread.

        Args: work: the coroutine. timeout_s: how long it may take. Raises: what it raises, or TimeoutError.
        """
        done = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return done.result(timeout_s)
        except TimeoutError:
            done.cancel()
            raise

    async def _start(self) -> None:
        self._link = Link(self._supervision_s)
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    def add(self, peripheral: Peripheral) -> None:
        """Let a peripheral begin. Raises RuntimeError where the air is not started."""
        if self._link is None:
            raise RuntimeError("the air is not started")
        self.run(peripheral.start(self._link))
        self._peripherals.append(peripheral)

    def remove(self, peripheral: Peripheral) -> None:
        """Let a peripheral end."""
        self._peripherals.remove(peripheral)
        self.run(peripheral.stop())

    @property
    def results_sent(self) -> int:
        """How many scan results boards were given."""
        return self._sent

    @property
    def results_dropped(self) -> int:
        """How many were dropped, as the board did not take them."""
        return self._dropped

    @property
    def boards(self) -> int:
        """How many boards have their radio on."""
        return len(self._boards)

    @property
    def connections(self) -> int:
        """How many connections boards have now."""
        return sum(board.connected for board in list(self._boards))

    def stop(self) -> None:
        """End all: boards lose their radio. May be called twice."""
        if self._loop.is_closed():
            return
        if self._thread.is_alive():
            with contextlib.suppress(TimeoutError):
                self.run(self._stop())
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(STEP_S)
        if not self._thread.is_alive():
            self._loop.close()

    async def _stop(self) -> None:
        if self._server is not None:
            self._server.close()
        for peripheral in self._peripherals:
            with contextlib.suppress(Exception):
                await asyncio.wait_for(peripheral.stop(), STEP_S / 5)
        self._peripherals.clear()
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in tasks:
            task.cancel()
        await asyncio.wait_for(asyncio.gather(*tasks, return_exceptions=True), STEP_S / 2)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._link is None:
            return
        board = Board(self._link, reader, writer, self._count)
        task = asyncio.current_task()
        if task is None:
            return
        self._boards[board] = task
        try:
            await board.serve()
        except (asyncio.IncompleteReadError, ConnectionError, TimeoutError):
            pass  # it was reset, or its power was cut
        except Exception:
            logger.exception("a board's radio")
        finally:
            board.leave()
            writer.close()
            self._boards.pop(board, None)

    def _count(self, sent: bool) -> None:
        if sent:
            self._sent += 1
        else:
            self._dropped += 1
