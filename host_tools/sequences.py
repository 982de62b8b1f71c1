"""The sequence numbers of a device's readings: what is missing, and what came twice."""

from dataclasses import dataclass, field

_REMEMBERED = 1024  # a number that comes later than so many others stays lost
_ALL = (1 << (_REMEMBERED + 1)) - 1
_NO_START = 256  # numbers that go back no farther are repeated
_MOST_STARTS = 4


@dataclass(slots=True)
class Sequence:
    """The sequence numbers of one device, which counts its readings from 0 at each start.

    lost: numbers that have not come. repeated: numbers that came again, as QoS 1 may send them. one_start: they are of
    one start only, as readings with a `boot` are; else what goes back far is a new start. unwatched: nobody looked for
    a moment, so that the next gap says nothing.
    """

    last: int | None = None
    lost: int = 0
    repeated: int = 0
    starts: int = 0
    one_start: bool = False
    unwatched: bool = False
    _first: int = 0
    _missing: int = 0  # a bit for each number that has not come: bit n for the one n before the last

    def add(self, number: int) -> None:
        """Count one number."""
        last = self.last
        if last is None:
            self._first = self.last = number
        elif number == last + 1:
            self._go_on(1)
        elif number > last:
            self._go_on(number - last)
            if self.unwatched:
                self.unwatched = False
            else:
                self.lost += number - last - 1
                self._missing |= (1 << min(number - last, _REMEMBERED + 1)) - 2
        elif last - number <= _REMEMBERED and self._missing >> (last - number) & 1:
            self._missing ^= 1 << (last - number)
            self.lost -= 1
        elif self.one_start:
            self.repeated += number >= self._first  # what is older nobody has counted
        elif number == last or (number and last - number <= _NO_START):
            self.repeated += 1
        else:
            self.starts += 1
            self.last = number
            self._missing = 0

    def _go_on(self, steps: int) -> None:
        self.last = (self.last or 0) + steps
        self._missing = self._missing << min(steps, _REMEMBERED + 1) & _ALL


@dataclass(slots=True)
class Sequences:
    """The sequences of a device's last few starts: `boot` says which start a reading is of.

    After a cut of power readings of older starts may come first, or again.
    """

    _kept: dict[int | None, Sequence] = field(default_factory=dict)
    _newest: int | None = None
    _lost: int = 0
    _repeated: int = 0
    _unwatched: bool = False

    def unwatched(self) -> None:
        """Nobody looked for a moment: what came then is not lost."""
        self._unwatched = True
        for sequence in self._kept.values():
            sequence.unwatched = True

    def add(self, number: int, boot: int | None = None) -> None:
        """Count one number. boot: of the reading, None where it has none."""
        sequence = self._kept.pop(boot, None)
        if sequence is None:
            sequence = Sequence(one_start=boot is not None)
            if boot is not None:
                if self._newest is not None and boot > self._newest and not self._unwatched:
                    sequence.last = -1  # it began while we watched: from 0
                self._unwatched = False
                self._newest = max(boot, self._newest or 0)
            if len(self._kept) >= _MOST_STARTS:
                # The one not heard for longest, not the lowest: a deploy begins the count of starts anew.
                old = self._kept.pop(next(iter(self._kept)))
                self._lost += old.lost
                self._repeated += old.repeated
        self._kept[boot] = sequence
        sequence.add(number)

    @property
    def lost(self) -> int:
        """Numbers that have not come."""
        return self._lost + sum(sequence.lost for sequence in self._kept.values())

    @property
    def repeated(self) -> int:
        """Numbers that came again."""
        return self._repeated + sum(sequence.repeated for sequence in self._kept.values())

    def __bool__(self) -> bool:
        """Whether there were any numbers."""
        return bool(self._kept)
