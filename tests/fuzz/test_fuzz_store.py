"""A root store of any bytes: the reader gives its own error or a certificate, also where every checksum is right."""

import hashlib
import io
import os
from functools import lru_cache

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from host_tools import roots
from rootlet import store
from rootlet.errors import RootletError
from tests import lookalike

EXAMPLES = int(os.environ.get("ROOTLET_FUZZ_EXAMPLES", "2000"))
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@lru_cache
def sample() -> bytes:
    chosen = [cert for cert in lookalike.real() if "Amazon" in str(cert.subject) or "ISRG" in str(cert.subject)]
    return roots.build(lookalike.anchors(chosen), "v", 1)


def sealed(data: bytes) -> bytes:
    """The store with its digests made right again, so that what is behind them is reached."""
    count = int.from_bytes(data[32:34], "big")
    end = store.HEADER + count * store.RECORD
    head = data[:40]
    seal = hashlib.sha256(head + data[store.HEADER : end]).digest()[:8]
    rest = data[store.HEADER :]
    return head + seal + hashlib.sha256(head + seal + rest).digest() + rest


class InMemory(store.Store):
    """A store whose file is in memory."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        super().__init__("store")

    def _open(self):
        return io.BytesIO(self.data)


def use(data: bytes) -> None:
    try:
        s = InMemory(data)
        s.find([data[store.HEADER : store.HEADER + 4]])
        for der in s.roots():
            assert len(der) <= 2048
    except RootletError as e:
        assert e.code == "TLS_STORE"


@fuzz
@given(st.binary(max_size=600))
def test_any_bytes_as_a_store(data):
    use(data)
    use(store.MAGIC + data)


@fuzz
@given(st.data())
def test_changed_stores_with_right_digests(data):
    changed = bytearray(sample())
    for _ in range(data.draw(st.integers(1, 6))):
        # Mostly the head, the index and the heads of entries: a changed key is but another key.
        at = data.draw(st.one_of(st.integers(8, 300), st.integers(0, len(changed) - 1)))
        changed[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(store.HEADER, len(changed)))
    use(sealed(bytes(changed[:cut] if data.draw(st.booleans()) else changed)))


@fuzz
@given(st.binary(max_size=300), st.integers(0, 40), st.integers(0, 40))
def test_any_bytes_as_an_entry(data, at, dictionary):
    try:
        der = store.certificate(io.BytesIO(data), at, dictionary)
    except (ValueError, IndexError):
        return
    assert len(der) <= 2048
