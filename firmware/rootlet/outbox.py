"""What is to be sent and not acknowledged yet: in RAM first, on flash when it has to wait. At least once, in order.

The folder holds segments, files of records with rising numbers, and `acked.0`, `acked.1`, written in turn: all below
the larger number in them is acknowledged. A segment's name is its serial number and a random word, both in hex. That
word starts the record's CRC-32: nobody who chooses a payload can hide a record in it for a search over damaged bytes.
"""

import os
import struct
import time
from binascii import crc32
from collections import deque

LONGEST = 4096  # bytes of a record
_HEAD = 18  # magic, CRC-32 of the rest; sizes of topic and payload, number; then topic and payload
_MAGIC = b"\xd5R"
_CHUNK = 1024  # bytes read at once
_INLINE = 500  # bytes; littlefs keeps smaller files in the folder's own block, where a change costs no erase of its own
_FEW = 8  # segments may be that small, as long as there are few
_MOST = 64  # segments and topics that are looked at
_RETRY_MS = 10000  # after a failure of the flash
_ACKS_MS = 60000  # acknowledgements stay in RAM for that long, at most `window` of them
_TOP = 1 << 56  # no number is as high


class Outbox:
    """Entries on their way to a broker.

    Args: folder: where segments are. max_bytes: of all of them. ram: entries in RAM. hold_ms: an entry older than that
    goes to flash, 0: at once. full: "drop_oldest" or "keep_latest" (an entry goes first whose topic has a newer one).
    mode: "flash" or "ram" (nothing on flash). window: entries handed out at once, and most that come twice after a cut.
    """

    def __init__(
        self, folder="outbox", max_bytes=65536, ram=64, hold_ms=10000, full="drop_oldest", mode="flash", window=16
    ):
        self._folder = folder + "/"
        self._max = max_bytes
        self._segment = max(max_bytes // 8, min(2048, max_bytes // 2))
        self._longest = min(LONGEST, self._segment)
        self._ram = ram
        self._hold = hold_ms
        self._latest = full == "keep_latest"
        self._flash = mode == "flash"
        self._window = window
        self.dropped = self.errors = self.stored = 0
        self._waiting: deque = deque(
            (), ram + 1
        )  # (number, topic, payload, ticks): the newest that were not handed out
        self._out: list = []  # handed out and not acknowledged; from _at on: to be handed out again
        self._at = 0
        self._ready: list = []  # read from flash, the next one last
        self._gap = False  # flash has entries that come before those in _waiting
        self._done: list = []  # numbers on flash whose acknowledgement is not
        self._segments: list = []  # [name, bytes, last number, entries not acknowledged, first number]
        self._cursor = (0, 0)  # serial number and offset where reading goes on
        self._serial = 0
        self._count = self._next = self._written = self._turn = 0
        self._handed = -1  # the last number handed out
        self._old = 0  # below it, numbers may have been sent before the reboot
        self._sealed = True  # no more goes into the last segment
        self._failed = None  # ticks of the last failure to write
        self._checked = self._since = time.ticks_ms()
        if self._flash:
            self._boot()

    def __len__(self):
        return self._count

    # What the sender calls

    def put(self, topic, payload):
        """Take an entry. Args: topic, payload: str or bytes, together less than 4 KB.

        Returns its number, or None if it is too long (counted as dropped). A flash that fails raises nothing: `errors`.
        """
        if isinstance(topic, str):
            topic = topic.encode()
        if not isinstance(payload, bytes):
            payload = payload.encode() if isinstance(payload, str) else bytes(payload)
        if _HEAD + len(topic) + len(payload) > self._longest:
            self.dropped += 1
            return None
        waiting = self._waiting
        if len(waiting) >= self._ram:
            self._room()
        number = self._next
        waiting.append((number, topic, payload, time.ticks_ms()))
        self._next = number + 1
        self._count += 1
        if not self._hold and self._flash:
            self._write()
        return number

    def next(self):
        """The oldest entry that is not handed out: (number, topic, payload, again), or None."""
        out = self._out
        at = self._at
        if at < len(out):
            entry = out[at]
            self._at = at + 1
            return entry[0], entry[1], entry[2], True
        if at + len(self._done) >= self._window:
            # Not before half of the window has been acknowledged: each time costs a change of the flash.
            if at > self._window // 2 or not self._persist():
                return None
        if self._gap and not self._ready:
            self._fill()
        if self._ready:
            out.append(self._ready[-1])  # first: where memory runs out here, nothing has gone
            entry = self._ready.pop()
        elif self._waiting and not self._gap:
            out.append(self._waiting[0])
            entry = self._waiting.popleft()
        else:
            return None
        self._at = at + 1
        self._handed = number = entry[0]
        return number, entry[1], entry[2], number < self._old

    def acked(self, number):
        """An entry has arrived. A number that is not waited for is ignored."""
        out = self._out
        for i in range(len(out)):
            if out[i][0] == number:
                break
        else:
            return
        out.pop(i)
        if i < self._at:
            self._at -= 1
        self._count -= 1
        if number < self._written:
            self._settle(number)

    def rewind(self):
        """The connection has ended: what was handed out and not acknowledged comes again."""
        self._at = 0

    def release(self):
        """What is on flash goes from RAM, and is read again when its turn comes: memory is needed for other things."""
        waiting = self._waiting
        while waiting and waiting[0][0] < self._written:
            waiting.popleft()
            self._gap = True

    def tick(self):
        """Do what is due: what has waited for hold_ms goes to flash, and acknowledgements that have waited."""
        if not self._flash:
            return
        if self._written < self._next and _past(self._checked, self._hold):
            entry = self._unwritten()
            self._checked = entry[3] if entry else time.ticks_ms()
            if entry and _past(entry[3], self._hold):
                self._write()
        if self._done and _past(self._since, _ACKS_MS):
            self._persist()

    def flush(self):
        """All to flash now. Returns whether it is there."""
        if not self._flash:
            return False
        self._failed = None
        self._write()
        return self._persist() and not self._unwritten()

    @property
    def safe(self):
        """All numbers below are acknowledged or on flash."""
        entry = self._unwritten()
        return entry[0] if entry else self._next

    # RAM

    def _unwritten(self):
        """The oldest entry that is not on flash, or None."""
        written = self._written
        if written < self._next:
            for entries in (self._out, self._waiting):
                for entry in entries:
                    if entry[0] >= written:
                        return entry
        return None

    def _room(self):
        """One entry less in RAM."""
        waiting = self._waiting
        if self._flash and waiting[0][0] >= self._written:
            self._write()
        if not waiting or waiting[0][0] < self._written:
            if waiting:
                waiting.popleft()
                self._gap = True
            return
        gone = 0
        if self._latest:
            newest = {entry[1]: entry[0] for entry in waiting}
            while gone < len(waiting) and newest[waiting[gone][1]] == waiting[gone][0]:
                gone += 1
            gone %= len(waiting)
        for i in range(len(waiting)):
            entry = waiting.popleft()
            if i != gone:
                waiting.append(entry)
        self._count -= 1
        self.dropped += 1

    # Flash: writing

    def _settle(self, number):
        """An entry on flash is acknowledged."""
        for segment in self._segments:
            if segment[4] <= number <= segment[2]:
                segment[3] -= 1
                if not self._done:
                    self._since = time.ticks_ms()
                self._done.append(number)
                break

    def _failure(self):
        self.errors += 1
        self._failed = time.ticks_ms()

    def _resting(self):
        """Whether the flash failed a moment ago."""
        return self._failed is not None and not _past(self._failed, _RETRY_MS)

    def _write(self):
        """Everything that is not on flash goes there, in as few files as can be, each written once."""
        if self._written == self._next or self._resting():
            return
        written = self._written
        batch = [entry for entry in self._out if entry[0] >= written]
        batch.extend([entry for entry in self._waiting if entry[0] >= written])
        at = 0
        while at < len(batch):
            size = 0
            end = at
            while end < len(batch):
                more = _HEAD + len(batch[end][1]) + len(batch[end][2])
                if size + more > self._segment:
                    break
                size += more
                end += 1
            if not self._append(batch, at, end, size):
                return
            at = end
        self._written = self._next

    def _append(self, batch, at, end, size):
        """Write batch[at:end] of size bytes to the last segment or a new one. Returns whether it worked."""
        path = None
        try:
            while self._segments and self.stored + size > self._max:
                if not (self._latest and self._compact()):
                    self._drop(self._segments[0], ())
            last = self._segments[-1] if self._segments and not self._sealed else None
            if last and last[1] + size > (_INLINE if len(self._segments) < _FEW else self._segment):
                last = None
            if last is None:
                self._serial += 1
                name = _name(self._serial)
                path = self._folder + name
            else:
                name = last[0]
            word = int(name[8:], 16)
            with open(self._folder + name, "ab") as f:
                for i in range(at, end):
                    f.write(_record(word, batch[i]))
            if hasattr(os, "sync"):
                os.sync()
        except (OSError, MemoryError):
            self._failure()
            self._sealed = True  # nobody knows how it ends
            if path:
                _try(os.remove, path)
            _try(os.mkdir, self._folder[:-1])
            return False
        if last is None:
            last = [name, 0, 0, 0, batch[at][0]]
            self._segments.append(last)
            self._sealed = False
        last[1] += size
        last[2] = batch[end - 1][0]
        last[3] += end - at
        self.stored += size
        self._written = last[2] + 1
        return True

    def _low(self):
        """All numbers below are acknowledged."""
        return self._out[0][0] if self._out else self._handed + 1

    def _persist(self):
        """Acknowledgements to flash. Returns whether the window has room.

        A segment that is wholly acknowledged goes, which says it all; for the rest one small file is written. There
        are two, so that one is whole whatever happens to the other, also where a file system cannot replace a file.
        """
        if self._resting():
            return True  # a flash that fails must not stop the sender; more may come twice then
        low = self._low()
        gone = -1
        while self._segments and self._segments[0][2] < low:
            gone = self._segments[0][2]
            try:
                self._forget(self._segments[0])
            except OSError:
                self._failure()
                return True
        done = [number for number in self._done if number > gone]
        if done and min(done) < low:
            mark = struct.pack("<Q", low)
            try:
                with open("%sacked.%d" % (self._folder, self._turn), "wb") as f:
                    f.write(mark + struct.pack("<I", crc32(mark)))
            except (OSError, MemoryError):
                self._failure()
                del done[: -self._window]
                self._done = done
                return True
            self._turn ^= 1
            done = [number for number in done if number >= low]
        self._done = done
        return len(self._out) + len(done) < self._window

    def _forget(self, segment):
        """A segment goes. Raises OSError."""
        os.remove(self._folder + segment[0])
        self._segments.remove(segment)
        self.stored -= segment[1]

    def _drop(self, segment, keep):
        """The entries of a segment go, but for the numbers in `keep` and what is handed out. Raises OSError."""
        first, last = segment[4], segment[2]
        if not keep:
            self._forget(segment)
            self._done = [number for number in self._done if not first <= number <= last]
        out = sum([first <= entry[0] <= last and entry[0] not in keep for entry in self._out])
        gone = max(0, segment[3] - len(keep) - out)
        self.dropped += gone
        self._count -= gone
        self._ready = [entry for entry in self._ready if not first <= entry[0] <= last or entry[0] in keep]
        waiting = self._waiting
        for _ in range(len(waiting)):
            entry = waiting.popleft()
            if not first <= entry[0] <= last or entry[0] in keep:
                waiting.append(entry)

    def _compact(self):
        """Drop what has a newer entry of its topic, from the first segment where that gains half. Returns whether."""
        newest: dict = {}
        for segment in self._segments:
            for _, entry in self._entries(segment):
                newest[entry[1]] = entry[0]
            if len(newest) > _MOST:
                return False
        for entry in self._waiting:
            newest[entry[1]] = entry[0]
        low = self._low()
        for segment in self._segments:
            keep = []
            size = 0
            for _, entry in self._entries(segment):
                if entry[0] >= low and entry[0] not in self._done and newest[entry[1]] == entry[0]:
                    keep.append(entry[0])
                    size += _HEAD + len(entry[1]) + len(entry[2])
            if size <= segment[1] // 2:
                break
        else:
            return False
        if not keep:
            self._drop(segment, keep)
            return True
        name = _name(int(segment[0][:8], 16))
        word = int(name[8:], 16)
        try:
            with open(self._folder + name, "wb") as f:
                for _, entry in self._entries(segment):
                    if entry[0] in keep:
                        f.write(_record(word, entry))
            os.remove(self._folder + segment[0])
        except (OSError, MemoryError):
            _try(os.remove, self._folder + name)
            return False
        if segment is self._segments[-1]:
            self._sealed = False
        self._drop(segment, keep)
        self.stored += size - segment[1]
        segment[0], segment[1], segment[3] = name, size, len(keep)
        return True

    # Flash: reading

    def _entries(self, segment):
        """(offset of the next, (number, topic, payload)) of a segment that can be read. Raises OSError."""
        at = 0
        more = True
        while more:
            found, at, _, more = _read(self._folder + segment[0], at)
            for entry in found:
                yield at, entry

    def _fill(self):
        """Read some entries that come before those in RAM."""
        # What a write that failed has left behind is no entry: it is written again, or was dropped.
        stop = min(self._waiting[0][0] if self._waiting else _TOP, self._written)
        handed = self._handed
        found: list = []
        for segment in self._segments:
            if segment[2] <= handed:
                continue
            at = self._cursor[1] if self._cursor[0] == segment[0] else 0
            more = True
            while more and self._gap and not found:
                start = at
                try:
                    found, at, _, more = _read(self._folder + segment[0], at)
                except OSError:
                    self.errors += 1
                    break
                except MemoryError:
                    self.errors += 1
                    return
                rising = []
                for entry in found:
                    if entry[0] >= stop:
                        self._gap = False
                    elif entry[0] > handed:
                        handed = entry[0]
                        rising.append(entry)
                found = rising
                self._cursor = (segment[0], at if self._gap else start)
            if found or not self._gap:
                break
        else:
            self._gap = False
        found.reverse()
        self._ready = found
        if not self._gap:
            left = len(self._out) + len(found) + len(self._waiting)
            self.errors += max(0, self._count - left)  # they were there at boot, and are not any more
            self._count = left

    def _boot(self):
        """Take what can be believed of the folder."""
        mark = 0
        for i in range(2):
            said = _mark("%sacked.%d" % (self._folder, i))
            if said is None:
                self.errors += 1
            elif said > mark:
                mark = said
                self._turn = i ^ 1
        names = []
        try:
            for item in os.ilistdir(self._folder[:-1]):
                if _is_segment(item[0]):
                    names.append(item[0])
                    if len(names) > _MOST * 2:
                        names.sort()
                        names.pop()
        except OSError:
            _try(os.mkdir, self._folder[:-1])
        names.sort()
        unread = 0
        last = mark - 1
        for name in names:
            self._serial = max(self._serial, int(name[:8], 16))
            at = count = 0
            before = last
            more = True
            try:
                while more:
                    found, at, bad, more = _read(self._folder + name, at)
                    self.errors += bad
                    for entry in found:
                        if entry[0] > last:
                            last = entry[0]
                            count += 1
                            self._count += 1
                            if self._count <= self._window:
                                self._old = last + 1
            except (OSError, MemoryError):
                self.errors += 1
                self._count -= count
                last = before
                unread += 1 << 20  # its numbers are in use: should it be read some day, they must not hide newer ones
                continue
            if count:
                self._segments.append([name, at, last, count, before + 1])
                self.stored += at
            else:
                _try(os.remove, self._folder + name)
        self._next = self._written = last + 1 + unread
        self._handed = mark - 1
        self._gap = self._count > 0
        self._sealed = False


def _past(since, ms):
    """Whether that long has passed; the clock wraps round, and a moment that seems to be ahead is days ago."""
    return not 0 <= time.ticks_diff(time.ticks_ms(), since) < ms


def _try(function, path):
    try:
        function(path)
    except OSError:
        pass


def _name(serial):
    return "%08x%08x" % (serial, struct.unpack("<I", os.urandom(4))[0])


def _is_segment(name):
    try:
        return len(name) == 16 and "%016x" % int(name, 16) == name
    except ValueError:
        return False


def _record(word, entry):
    """The bytes of an entry in the segment of that word."""
    head = struct.pack("<HHQ", len(entry[1]), len(entry[2]), entry[0])
    crc = crc32(entry[2], crc32(entry[1], crc32(head, word)))
    return b"".join((_MAGIC, struct.pack("<I", crc), head, entry[1], entry[2]))


def _mark(path):
    """The number in a file of acknowledgements: 0 where there is none, None where it cannot be believed."""
    try:
        with open(path, "rb") as f:
            data = f.read(13)
    except OSError as e:
        return 0 if e.args[0] == 2 else None
    if len(data) != 12:
        return None
    number, crc = struct.unpack("<QI", data)
    return number if crc32(data[:8]) == crc and number < _TOP else None


def _read(path, at):
    """Some records of a segment from an offset on.

    Returns ([(number, topic, payload)], where to go on, stretches that are no records, whether there may be more).
    Raises OSError, MemoryError.
    """
    word = int(path[-8:], 16)
    with open(path, "rb") as f:
        f.seek(at)
        data = f.read(_CHUNK)
        more = len(data) == _CHUNK
        if more and data[:2] == _MAGIC:
            lack = sum(struct.unpack_from("<HH", data, 6)) + _HEAD - _CHUNK
            if 0 < lack <= LONGEST - _CHUNK:
                rest = f.read(lack)
                more = len(rest) == lack
                data += rest
    view = memoryview(data)
    found = []
    bad = pos = 0
    good = True
    length = len(data)
    while length - pos >= _HEAD:
        if data[pos : pos + 2] == _MAGIC:
            crc, topic, payload, number = struct.unpack_from("<IHHQ", data, pos + 2)
            topic += pos + _HEAD
            end = topic + payload
            if end - pos <= LONGEST and number < _TOP:
                if end <= length:
                    if crc32(view[pos + 6 : end], word) == crc:
                        found.append((number, data[pos + _HEAD : topic], data[topic:end]))
                        pos = end
                        good = True
                        continue
                elif more and pos:
                    return found, at + pos, bad, True
        if good:
            bad += 1
            good = False
        pos = data.find(_MAGIC, pos + 1)
        if pos < 0:
            pos = length - 1 if more else length
    if not more and pos < length:
        bad += good
        pos = length
    return found, at + pos, bad, more
