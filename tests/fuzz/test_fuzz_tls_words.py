"""Whatever passes the recording proxy, the words for it never fail, drive a terminal, or fill the memory."""

import os
import ssl

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from host_tools.tls_words import Conversation
from tests.conversations import conversation

EXAMPLES = int(os.environ.get("ROOTLET_FUZZ_EXAMPLES", "2000"))
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

MOST_HELD = (1 << 17) + 3 * 20000


def listen(pieces):
    talk = Conversation()
    lines = []
    for sender, data in pieces:
        lines += talk.feed(sender, data, 1.0)
        held = sum(len(half._bytes) + len(half._messages) for half in talk._halves.values())
        assert held < MOST_HELD
    lines += talk.end(2.0)
    assert len(lines) <= 2 * 206
    for line in lines:
        assert line.text.isprintable() and len(line.text) < 600, line


senders = st.sampled_from(["client", "server"])


@fuzz
@given(st.lists(st.tuples(senders, st.binary(max_size=600)), max_size=6))
def test_any_bytes(pieces):
    listen(pieces)


def record(kind, payload):
    return bytes((kind, 3, 3)) + len(payload).to_bytes(2, "big") + payload


messages = st.tuples(st.sampled_from([0, 1, 2, 4, 11, 12, 13, 14, 15, 16, 22, 99]), st.binary(max_size=200)).map(
    lambda m: record(22, bytes((m[0],)) + len(m[1]).to_bytes(3, "big") + m[1])
)
records = st.tuples(st.sampled_from([20, 21, 22, 23]), st.binary(max_size=40)).map(lambda r: record(*r))


@fuzz
@given(st.lists(st.tuples(senders, st.one_of(messages, records)), max_size=12))
def test_well_framed_nonsense(pieces):
    listen(pieces)


@fuzz
@given(st.data())
def test_changed_conversations(data):
    version = data.draw(st.sampled_from([ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3]))
    pieces = []
    for sender, whole in conversation(version):
        changed = bytearray(whole)
        for _ in range(data.draw(st.integers(0, 3))):
            changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
        pieces.append((sender, bytes(changed[: data.draw(st.integers(0, len(changed)))] or changed)))
    listen(pieces)
