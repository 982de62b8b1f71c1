"""Files of the outbox may be any bytes: what cannot be believed is counted, nothing is raised, memory stays bounded.

ROOTLET_FUZZ_INPUTS says how many inputs (`make fuzz` sets it).
"""

import io
import os
import random
import struct
import tracemalloc
from binascii import crc32

import pytest

from rootlet import outbox

INPUTS = int(os.environ.get("ROOTLET_FUZZ_INPUTS", "20000"))
SEGMENTS = ("0000000100c0ffee", "0000000212345678", "000000030badcafe")
ENTRIES = [(b"topic-%d" % (i % 3), b"%d " % i * (i % 40)) for i in range(60)]


class Files:
    """os and open over a dict; no read is longer than a record."""

    def __init__(self, files):
        self.files = files

    def ilistdir(self, _folder):
        return [(name.split("/")[1], 0x8000, 0) for name in self.files]

    def mkdir(self, _folder):
        pass

    def urandom(self, size):
        return random.randbytes(size)

    def remove(self, path):
        if self.files.pop(path, None) is None:
            raise OSError(2)

    def open(self, path, mode):
        return File(self.files, path, mode)


class File(io.BytesIO):
    def __init__(self, files, path, mode):
        if mode == "rb" and path not in files:
            raise OSError(2)
        super().__init__(b"" if mode == "wb" else files.get(path, b""))
        if mode == "ab":
            self.seek(0, 2)
        self.done = (lambda: None) if mode == "rb" else lambda: files.__setitem__(path, self.getvalue())

    def read(self, size):
        assert 0 <= size <= outbox.LONGEST
        return super().read(size)

    def close(self):
        if not self.closed:
            self.done()
        super().close()


@pytest.fixture(autouse=True)
def seeded(monkeypatch):
    random.seed(20)
    monkeypatch.setattr(outbox, "os", outbox.os)
    monkeypatch.setattr(outbox, "open", open, raising=False)


def start(files, **options):
    outbox.os = Files(files)
    outbox.open = outbox.os.open
    return outbox.Outbox("o", **options)


def segment(number, entries, first):
    word = int(SEGMENTS[number][8:], 16)
    return b"".join(outbox._record(word, (first + i, *entry)) for i, entry in enumerate(entries))


def real():
    """A folder of three segments and two marks, as they should be."""
    files = {"o/" + name: segment(i, ENTRIES[i * 20 : i * 20 + 20], i * 20) for i, name in enumerate(SEGMENTS)}
    for i, number in enumerate((3, 5)):
        files["o/acked.%d" % i] = marked(number)
    return files


def marked(number):
    mark = struct.pack("<Q", number)
    return mark + struct.pack("<I", crc32(mark))


def use(files, genuine=None):
    """A restart with these files, all of it sent, some more put, another restart."""
    box = start(files)
    last = -1
    while True:
        entry = box.next()
        if not entry:
            break
        number, topic, payload, _ = entry
        assert number > last and len(topic) + len(payload) <= outbox.LONGEST
        assert sum(len(e[1]) + len(e[2]) for e in box._ready) <= outbox.LONGEST + outbox._CHUNK
        assert genuine is None or (topic, payload) in genuine
        last = number
        box.acked(number)
    errors = box.errors
    assert len(box) == 0
    for i in range(3):
        box.put("new", b"%d" % i)
    assert box.flush()
    again = start(files)
    assert [again.next()[1:3] for _ in range(3)] == [(b"new", b"%d" % i) for i in range(3)]
    assert again.next() is None and len(again) == 3
    return errors


def test_the_real_files_are_read():
    assert use(real(), ENTRIES) == 0
    box = start(real())
    assert len(box) == 55 and box.next()[0] == 5


def test_any_bytes_as_files():
    for _ in range(INPUTS // 4):
        files = {}
        for name in random.sample(SEGMENTS, random.randint(1, 3)):
            data = random.randbytes(random.choice((0, 5, 17, 18, 40, 300, 1023, 1024, 3000)))
            if random.getrandbits(1):
                data = data.replace(b"\0", outbox._MAGIC + b"\0\0\0")
            files["o/" + name] = data
        for i in range(random.getrandbits(1) + 1):
            files["o/acked.%d" % i] = random.randbytes(random.choice((0, 11, 12, 13, 12)))
        use(files, ())


def changed(data):
    data = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at = random.randrange(len(data) + 1)
        kind = random.randrange(6)
        if kind < 2 and at < len(data):
            data[at] ^= 1 << random.randrange(8)
        elif kind == 2:
            data[at:at] = random.randbytes(random.randint(1, 50))
        elif kind == 3:
            del data[at : at + random.randint(1, 600)]
        elif kind == 4:
            data[at : at + 4] = random.choice((b"\xff" * 4, b"\0" * 4, outbox._MAGIC * 2))
        else:
            other = random.randrange(len(data) + 1)
            data[at:at] = data[other : other + random.randint(1, 400)]
    return bytes(data[: random.randint(0, len(data))] if random.getrandbits(2) == 0 else data)


def test_changed_files():
    whole = real()
    damaged = 0
    for _ in range(INPUTS // 2):
        files = dict(whole)
        for name in random.sample(sorted(files), random.randint(1, 3)):
            files[name] = changed(files[name])
        damaged += use(files, ENTRIES) > 0
    assert damaged > INPUTS // 4


def test_records_with_right_checksums_and_any_numbers():
    for _ in range(INPUTS // 4):
        files = {}
        for i, name in enumerate(SEGMENTS):
            data = b""
            for _ in range(random.randint(0, 6)):
                number = random.choice(
                    (random.getrandbits(6), random.getrandbits(64), 1 << 56, (1 << 55) + random.getrandbits(9))
                )
                data += segment(
                    i, [(random.randbytes(3), random.randbytes(random.getrandbits(9)))], min(number, 2**64 - 1)
                )
                data += random.randbytes(random.choice((0, 0, 1, 30)))
            files["o/" + name] = data
        number = random.choice((random.getrandbits(6), random.getrandbits(64), 1 << 56, 1 << 55))
        files["o/acked.0"] = marked(number)
        use(files)


def test_memory_stays_bounded():
    longest = segment(0, [(b"t", b"x" * (outbox.LONGEST - 19))], 1)
    claims = outbox._MAGIC + b"\0" * 4 + struct.pack("<HHQ", 65535, 65535, 7)
    for data in (longest * 3, claims * 40000, claims + b"\xff" * 800000, outbox._MAGIC * 100000, b"\0" * 868352):
        files = {"o/" + SEGMENTS[0]: data}
        tracemalloc.start()
        try:
            box = start(files)
            while box.next():
                pass
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        assert peak < 2 * len(data) + 40000  # the file itself is here too, and BytesIO may copy it
        assert box.errors <= len(data) // 512 + 2
