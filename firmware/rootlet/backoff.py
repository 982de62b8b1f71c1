"""How long to wait before the next try: full jitter, longer after each failure, and a schedule for refusals."""

import random

# What a broker says No to today it says No to a minute later: its certificate, our name, our rights.
_SLOW = ("MQTT_REFUSED", "TLS_REFUSED", "TLS_PSK")
_SLOW_FACTOR = 4
_LEAST_MS = 100
_MOST_DOUBLINGS = 10


class Backoff:
    """The pauses of one device. A fleet that loses its broker comes back spread over them, not all at once.

    The pause is anywhere between 100 ms and a bound, which doubles with each failure ("full jitter"). After a refusal
    the bound is four times as large, and the pause at least half of it.

    Args:
        first_ms: bound of the first pause. longest_ms: of the longest (refusals: four times as much).
        rand: function that gives so many random bits.
    """

    def __init__(self, first_ms=4000, longest_ms=60000, rand=random.getrandbits):
        self._first = first_ms
        self._longest = longest_ms
        self._rand = rand
        self._failures = 0

    def bound(self, code=""):
        """The longest pause that `failed` would give now, in ms. Args: code: of a RootletError."""
        bound = min(self._longest, self._first << min(self._failures, _MOST_DOUBLINGS))
        return bound * _SLOW_FACTOR if code in _SLOW else bound

    def failed(self, code=""):
        """Milliseconds to wait after one more failure. Args: code: of its RootletError."""
        bound = self.bound(code)
        self._failures += 1
        least = bound // 2 if code in _SLOW else min(_LEAST_MS, bound)
        # 24 bits: no big integer on a 32-bit board.
        return least + self._rand(24) % (bound - least + 1)

    def stable(self):
        """The connection has lasted: the next failure is a first one again."""
        self._failures = 0
