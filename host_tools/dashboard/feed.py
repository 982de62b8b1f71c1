"""What comes from the broker, brought from its threads to the page's.

One rule holds the two apart: the feed's thread never touches what the page knows. It hands over one batch of messages
at a time and waits until the page has taken it; meanwhile messages wait in the Watcher, which is bounded and counts
those that find no room.
"""

import asyncio
import random
import threading
import time
from collections.abc import Callable

from host_tools.dashboard.live import LARGEST_PAYLOAD
from host_tools.failure import Failure
from host_tools.watch import Message, Place, Watcher

_BATCH = 500
_TICK_S = 0.2
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 30.0
_STABLE_S = 10.0


class Feed:
    """Watches a broker for as long as the page runs, whatever becomes of the broker.

    Args:
        place: the broker. take: called in the page's thread with each batch and the count of messages dropped so far.
        clean: what is done to each message first, in the feed's thread: it takes long for large ones, and the page
            must go on meanwhile.
        tell: called there too when the broker comes (None) or goes, or cannot be used (why).
    Raises: Failure where the certificates cannot be used at all.
    """

    def __init__(
        self,
        place: Place,
        take: Callable[[list[Message], int], None],
        tell: Callable[[Failure | None], None],
        clean: Callable[[Message], Message] | None = None,
    ) -> None:
        self._place, self._take, self._tell = place, take, tell
        self._clean = clean or (lambda message: message)
        self._stop = threading.Event()
        self._dropped = 0
        self._watcher()

    def _watcher(self) -> Watcher:
        place = self._place
        return Watcher(
            place.host, place.port, place.ca, place.cert, place.key, user=place.user, password=place.password,
            topic=place.topic, longest=LARGEST_PAYLOAD + 1, tells_gaps=True,
        )  # fmt: skip

    def start(self) -> None:
        """Begin, in a thread of its own. Called in the page's event loop."""
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._run, name="feed", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End. A thread that waits for the network does not hold up the end of the process."""
        self._stop.set()

    def _run(self) -> None:
        wait_s = _FIRST_WAIT_S
        while not self._stop.is_set():
            began = time.monotonic()
            try:
                watcher = self._watcher()
                with watcher:
                    self._hand(self._tell, None)
                    began = time.monotonic()
                    self._watch(watcher)
                self._dropped += watcher.dropped
                if time.monotonic() - began > _STABLE_S:
                    wait_s = _FIRST_WAIT_S
                place = f"{self._place.host}:{self._place.port}"
                failure = Failure(
                    f"{place} is gone",
                    "the connection to the broker ended",
                    "if it has ended, start it: rootlet broker",
                )
            except Failure as e:
                failure = e
            except OSError as e:
                failure = Failure("the broker cannot be watched", str(e)[:200], "rootlet doctor")
            self._hand(self._tell, failure)
            self._stop.wait(wait_s * random.uniform(0.5, 1))  # noqa: S311
            wait_s = min(_LONGEST_WAIT_S, wait_s * 2)

    def _watch(self, watcher: Watcher) -> None:
        """Until the connection ends: the next one is begun anew, so that its failures are told."""
        while not self._stop.is_set():
            try:
                batch = [self._clean(watcher.next(_TICK_S))]
            except TimeoutError:
                if not watcher.connected:
                    return
                continue
            end = time.monotonic() + _TICK_S
            try:
                while len(batch) < _BATCH and time.monotonic() < end:
                    batch.append(self._clean(watcher.next(0)))
            except TimeoutError:
                pass
            self._hand(self._take, batch, self._dropped + watcher.dropped)

    def _hand(self, call: Callable[..., None], *arguments: object) -> None:
        """Call something in the page's thread, and wait until that is done or all ends."""
        done = threading.Event()

        def there() -> None:
            try:
                call(*arguments)
            finally:
                done.set()

        try:
            self._loop.call_soon_threadsafe(there)
        except RuntimeError:  # the loop has ended
            self._stop.set()
        while not done.wait(_TICK_S) and not self._stop.is_set():
            pass
