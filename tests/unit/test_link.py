"""link: which broker and when, on a clock that the tests turn; a broker that is there, half there, or gone."""

import pytest

from rootlet import config, link, mqtt
from rootlet.errors import RootletError
from rootlet.outbox import Outbox


class Clock:
    def __init__(self):
        self.ms = 1000

    def ticks_ms(self):
        return self.ms

    @staticmethod
    def ticks_diff(a, b):
        """As MicroPython has it: right within six days."""
        return ((a - b + (1 << 29)) & ((1 << 30) - 1)) - (1 << 29)


class FakeClient:
    """A client whose broker acknowledges what the test says."""

    refusal = None

    def __init__(self, device, host, port, trust, user, password, keepalive, window):
        self.server, self.port = host, port
        self.window = window
        self.inflight = {}
        self.tried = []
        self.sent = []
        self.pings = 0
        self.arrived = []
        self.on_ack = None
        self.sock = self
        self.timeout_ms = 0
        self.pid = 0

    def connect(self, clean):
        self.tried.append((self.server, self.port))
        self.clean = clean
        self.inflight.clear()
        if self.refusal:
            raise RootletError(self.refusal)
        return False

    def publish(self, topic, msg, retain=False, qos=0, dup=False, keep=True):
        self.sent.append((topic, msg, dup))
        if not qos:
            return 0
        self.pid += 1
        self.inflight[self.pid] = None
        return self.pid

    def ping(self):
        self.pings += 1

    def check_msg(self):
        if not self.arrived:
            return False
        pid = self.arrived.pop(0)
        if pid in self.inflight:
            del self.inflight[pid]
            self.on_ack(pid)
        return True

    def close(self):
        pass


@pytest.fixture
def clock(monkeypatch):
    found = Clock()
    monkeypatch.setattr(link, "time", found)
    monkeypatch.setattr(mqtt, "Client", FakeClient)
    return found


def settings(**more):
    m = {"host": "one", "port": 1, **more}
    data = {"device": "d", "wifi": {"networks": [{"ssid": "x"}]}, "mqtt": m}
    return config.check({**data, "sensors": [{"kind": "simulated", "name": "s"}]})["mqtt"]


def make(**more):
    box = Outbox(mode="ram")
    return link.Link(settings(**more), "d", None, box), box


TWO = [{"host": "two", "port": 2}]


def code(function):
    with pytest.raises(RootletError) as e:
        function()
    return e.value.code


def test_what_was_sent_and_not_acknowledged_is_sent_again_in_order_marked_dup(clock):
    k, box = make(window=3)
    for i in range(5):
        box.put("t", "%d" % i)
    k.connect()
    assert k.pump() == 3 and k.pump() == 0
    k.client.arrived = [2]
    assert k.listen() == 1 and k.pump() == 1
    k.ended("MQTT_CLOSED")
    k.client.sent.clear()
    k.connect()
    k.pump()
    assert k.client.sent == [(b"t", b"0", True), (b"t", b"2", True), (b"t", b"3", True)]
    k.client.arrived = list(k.client.inflight)
    k.listen()
    k.pump()
    assert k.client.sent[3:] == [(b"t", b"4", False)]
    assert (k.acked, len(box)) == (4, 1)


def test_quality_of_service_0_leaves_the_outbox_when_it_is_sent(clock):
    k, box = make(qos=0)
    box.put("t", "x")
    k.connect()
    assert k.pump() == 1 and len(box) == 0 and k.acked == 1


def test_the_first_answer_of_a_connection_is_told(clock):
    k, _ = make()
    for _ in range(2):
        k.connect()
        k.publish("status", "{}")
        assert not k.answered
        k.client.arrived = list(k.client.inflight)
        k.listen()
        assert k.answered and k.acked == 0
        k.answered = False
        k.ended("MQTT_CLOSED")


@pytest.mark.parametrize("keepalive", [5, 8, 20, 60, 600])
def test_a_broker_that_says_nothing_is_found_out_within_one_and_a_half_keepalives(clock, keepalive):
    k, _ = make(keepalive_s=keepalive)
    k.connect()
    began = clock.ms
    found = None
    while found is None and clock.ms - began < keepalive * 1600:
        clock.ms += 20
        try:
            k.check()
        except RootletError as e:
            found = e.code
    assert found == "MQTT_TIMEOUT" and k.client.pings == 1
    assert keepalive * 500 < clock.ms - began < keepalive * 1500
    assert k.client.sock.timeout_ms <= keepalive * 750


@pytest.mark.parametrize("keepalive", [5, 60])
def test_an_acknowledgement_that_does_not_come_is_missed_sooner(clock, keepalive):
    k, box = make(keepalive_s=keepalive)
    k.connect()
    box.put("t", "x")
    k.pump()
    clock.ms += min(15000, keepalive * 750)
    k.check()
    clock.ms += 1
    assert code(k.check) == "MQTT_TIMEOUT"


def test_answers_keep_the_connection(clock):
    k, _ = make(keepalive_s=10)
    k.connect()
    for _ in range(500):
        clock.ms += 400
        k.check()
        if k.client.pings:
            k.client.pings = 0
            k.client.arrived = [None]
            k.listen()


def test_one_answer_of_many_gives_the_others_their_time(clock):
    k, box = make(keepalive_s=60)
    k.connect()
    for i in range(4):
        box.put("t", "%d" % i)
    k.pump()
    for pid in (1, 2, 3):
        clock.ms += 14000
        k.client.arrived = [pid]
        k.listen()
        k.check()
    clock.ms += 15001
    assert code(k.check) == "MQTT_TIMEOUT"


def test_attempts_that_fail_go_round_the_brokers_and_wait_longer(clock):
    k, _ = make(brokers=TWO)
    k.client.refusal = "TCP_REFUSED"
    pauses = []
    for _ in range(8):
        assert code(k.connect) == "TCP_REFUSED"
        pauses.append(k.ended("TCP_REFUSED"))
    assert k.client.tried == [("one", 1), ("two", 2)] * 4
    assert all(100 <= pause <= min(60000, 4000 << i) for i, pause in enumerate(pauses))


def test_a_broker_that_kicks_at_once_is_not_hammered(clock):
    k, _ = make()
    total = 0
    for i in range(20):
        k.connect()
        clock.ms += 5000
        k.check()
        k._due = None
        bound = k._backoff.bound("MQTT_CLOSED")
        assert bound == min(60000, 4000 << i)
        total += k.ended("MQTT_CLOSED")
    assert total > 20 * 10000


def test_only_a_lasting_connection_resets_the_backoff_and_keeps_the_broker(clock):
    k, _ = make(brokers=TWO)
    k.client.refusal = "TCP"
    for _ in range(3):
        code(k.connect)
        k.ended("TCP")
    k.client.refusal = None
    k.connect()
    assert k.broker == ("two", 2)
    clock.ms += link.STABLE_MS + 1
    k.check()
    assert k.ended("MQTT_CLOSED") <= 4000
    assert k.broker == ("two", 2)


def test_a_connection_of_weeks_is_a_lasting_one(clock):
    k, _ = make()
    for _ in range(5):
        k._backoff.failed()
    k.connect()
    for _ in range(30):
        clock.ms = (clock.ms + 43200000) & ((1 << 30) - 1)  # ticks wrap round after 12 days
        k.client.arrived = [None]
        k.listen()
        k.check()
    assert k.ended("MQTT_CLOSED") <= 4000


async def _serve(k):
    return await k.serve(lambda: False)


def run(coroutine):
    import asyncio

    return asyncio.run(coroutine)


def test_it_returns_to_the_first_broker_with_nothing_on_its_way(clock):
    k, box = make(brokers=TWO, failback_s=100)
    k.client.refusal = "TCP"
    code(k.connect)
    k.ended("TCP")
    k.client.refusal = None
    k.connect()
    clock.ms += link.STABLE_MS + 1
    k.check()
    k.client.arrived = [None]
    k.listen()
    box.put("t", "x")
    k.pump()
    clock.ms += 50000
    box.put("t", "y")
    k.client.arrived = [1]
    assert run(_serve(k)) is True
    assert len(k.client.sent) == 1 and len(box) == 1  # what has come since waits for the first broker
    assert k.ended() == 0
    assert k.broker == ("one", 1)
    # It is not back: to the other one, at once.
    k.client.refusal = "TCP"
    assert code(k.connect) == "TCP"
    assert k.ended("TCP") == 0
    assert k.broker == ("two", 2)
    k.client.refusal = None
    k.connect()
    assert k.client.tried[-2:] == [("one", 1), ("two", 2)]


def test_reasons_are_counted_in_bounded_memory(clock):
    k, _ = make()
    for i in range(30):
        k.ended("CODE_%d" % (i % 12))
    assert len(k.reasons) <= 9
    assert sum(k.reasons.values()) == 30 and k.reasons["CODE_0"] == 3 and k.reasons["other"] == 8


def test_refusals_wait_longer(clock):
    k, _ = make()
    assert 8000 <= k.ended("MQTT_REFUSED") <= 16000


def test_the_session_is_as_configured(clock):
    for session, clean in (("clean", True), ("persistent", False)):
        k, _ = make(session=session)
        k.connect()
        assert k.client.clean is clean


def test_a_broker_that_talks_and_never_acknowledges_is_found_out(clock):
    k, box = make(keepalive_s=60)
    k.connect()
    box.put("t", "x")
    k.pump()
    for _ in range(14):
        clock.ms += 1000
        k.client.arrived = [None]
        k.listen()
        k.check()
    clock.ms += 1001
    k.client.arrived = [None]
    k.listen()
    assert code(k.check) == "MQTT_TIMEOUT"


def test_a_clean_session_where_the_caller_says_so(clock):
    k, _ = make(session="persistent")
    k.connect(True)
    assert k.client.clean is True
