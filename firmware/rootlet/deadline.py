"""A point in time after which waiting is an error, on clocks that wrap round."""

import select
import time

on_wait: list = []  # functions called in every slice of waiting, and before what may block: a watchdog is fed there


class Deadline:
    """A moment `ms` milliseconds from now (at most about six days, the range of ticks_diff)."""

    def __init__(self, ms):
        self._end = time.ticks_add(time.ticks_ms(), ms)

    def left(self):
        """Milliseconds left, 0 when it has passed."""
        left = time.ticks_diff(self._end, time.ticks_ms())
        return left if left > 0 else 0


def waiting():
    """Say that the program waits, or is about to."""
    for function in on_wait:
        function()


def wait(poller, deadline):
    """Wait until the registered stream is ready.

    Returns the poll flags, or 0 when the deadline has passed.
    """
    while True:
        left = deadline.left()
        if not left:
            return 0
        waiting()
        # Short slices: some ports do not wake a poll when TLS has buffered what it needs.
        for event in poller.poll(left if left < 100 else 100):
            return event[1]


READ = select.POLLIN
WRITE = select.POLLOUT
