"""telemetry: the fields of the status, what costs memory once a minute, and 1 KB at most."""

import json
import os
import time

try:
    from tempfile import TemporaryDirectory

    place = TemporaryDirectory()
    FOLDER = place.name
except ImportError:  # MicroPython is started in a folder of its own
    FOLDER = os.getcwd()

from rootlet import health, kept, memory, telemetry, trees

FIELDS = (
    "status device version reset boots crashes last_error trouble uptime_s heap_free largest_block rssi cert_days "
    "tree tree_version trial rolled_back"
).split()


class Clock:
    now = 0

    @staticmethod
    def ticks_ms():
        return Clock.now

    ticks_diff = staticmethod(time.ticks_diff)


class Outbox:
    dropped, stored, errors = 3, 4096, 1

    def __len__(self):
        return 7


class Stream:
    version, cipher = "TLSv1.2", "TLS-ECDHE-ECDSA-WITH-AES-256-GCM-SHA384"


class Client:
    def __init__(self, sock):
        self.sock = sock


class Link:
    def __init__(self, reasons, name="broker.example", stream=Stream):
        self.reasons, self.broker, self.handshake_ms = reasons, (name, 8883), 1234
        self.client = Client(stream)


class Certificate:
    """Not a whole one: dates are all that is asked for."""

    not_after = 1800000000


class Calls:
    blocks = 0
    parsed = 0


def _block():
    Calls.blocks += 1
    return 50000


memory.largest_block = _block
telemetry.time = Clock


def say(state=None, **more):
    return json.loads(telemetry.status("dev-1", {} if state is None else state, **more))


def test_all_fields_where_nothing_is_known():
    said = say()
    assert sorted(said) == sorted(FIELDS), said
    assert said["status"] == "online" and said["device"] == "dev-1" and said["largest_block"] == 50000
    assert [said[key] for key in ("rssi", "cert_days", "tree")] == [None] * 3
    old = health.report("dev-1")
    assert all(said[key] == old[key] for key in old if key != "heap_free")


def test_what_is_known_is_said():
    said = say(link=Link({"MQTT_TIMEOUT": 2}), outbox=Outbox(), rssi=-61)
    assert said["broker"] == "broker.example:8883" and said["handshake_ms"] == 1234 and said["rssi"] == -61
    assert said["reconnects"] == {"MQTT_TIMEOUT": 2}
    assert said["outbox"] == {"depth": 7, "dropped": 3, "stored": 4096, "errors": 1}
    assert said["tls"] == [Stream.version, Stream.cipher]
    assert say(link=Link({}, stream=None))["tls"] is None  # it has just ended


def test_the_largest_block_is_asked_for_once_a_minute():
    Calls.blocks = 0
    state = {}
    for seconds, asked in ((0, 1), (1, 1), (59, 1), (60, 2), (61, 2), (200, 3)):
        Clock.now = seconds * 1000
        assert say(state)["largest_block"] == 50000
        assert Calls.blocks == asked, seconds


def test_days_of_the_certificate():
    name = FOLDER + "/device.crt.der"
    from rootlet import x509

    def parse(der):
        Calls.parsed += 1
        if der == b"bad":
            raise x509.Malformed("of this test")
        return Certificate

    whole, x509.parse = x509.parse, parse
    try:
        state = {}
        for text, days in ((b"good", 10), (b"bad", None)):
            with open(name, "wb") as f:
                f.write(text)
            state = {}
            Calls.parsed = 0
            for _ in range(3):
                assert telemetry.cert_days(state, name, 1800000000 - 10 * 86400 - 5) == days
            assert Calls.parsed == 1
        state = {}
        with open(name, "wb") as f:
            f.write(b"good")
        assert telemetry.cert_days(state, name, 1800000000 + 5) == -1
        assert telemetry.cert_days({}, FOLDER + "/absent.der", 0) is None
        assert telemetry.cert_days({}, None, 0) is None
    finally:
        x509.parse = whole


def test_at_most_a_kilobyte_whatever_is_in_it():
    reasons = {"CERT_WEAK_SIGNATURE_%d" % n: 9999999 for n in range(9)}
    kept.data.update({"code": "CERT_WEAK_SIGNATURE", "fact": "\x01" * 120, "at": 1 << 28, "ran": 1 << 28})
    health._error = ("CERT_WEAK_SIGNATURE", "\u20ac" * 120)
    try:
        text = telemetry.status("d" * 48, {}, Link(reasons, "b" * 120), Outbox(), -120, None, 0)
        assert len(text.encode()) < 1024, len(text.encode())
        said = json.loads(text)
        assert sorted(said) == sorted(FIELDS + ["outbox", "broker", "handshake_ms", "reconnects"])
        assert said["trouble"]["code"] == said["last_error"]["code"] == "CERT_WEAK_SIGNATURE"
        assert len(said["reconnects"]) == 9
        text = telemetry.status("d" * 48, {}, Link(reasons, "b" * 253), Outbox(), -120, None, 0)
        assert len(text.encode()) < 1024 and json.loads(text)["outbox"]["depth"] == 7
        health._error = ("DNS", "short")
        kept.data["fact"] = "short too"
        said = say(link=Link({}), outbox=Outbox())
        assert said["trouble"]["fact"] == "short" and said["last_error"]["fact"] == "short too"
    finally:
        health._error = None
        kept.data.update(kept._FRESH)


def test_what_the_tree_says():
    class Trees:
        @staticmethod
        def current():
            return "/app_b"

        @staticmethod
        def version():
            return 7

    telemetry.trees = Trees
    try:
        said = say()
        assert (said["tree"], said["tree_version"], said["trial"]) == ("b", 7, None)
    finally:
        telemetry.trees = trees
