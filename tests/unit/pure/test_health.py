"""health, watchdog, leds: what is kept over resets, when safe mode comes, and when the watchdog is fed."""

import json
import os
import sys
import time

try:
    from tempfile import TemporaryDirectory

    place = TemporaryDirectory()
    FOLDER = place.name
except ImportError:  # MicroPython is started in a folder of its own
    FOLDER = os.getcwd()


class Reset(Exception):
    """The board resets."""


class Machine:
    """machine, as far as it matters here."""

    cause = 1
    resets = 0

    class WDT:
        fed = 0
        timeouts: list = []

        def __init__(self, timeout):
            self.timeouts.append(timeout)

        def feed(self):
            Machine.WDT.fed += 1

    class Timer:
        PERIODIC = 1
        made: list = []
        stopped = 0

        def __init__(self, id, period, mode, callback):
            self.made.append((id, period, callback))

        def deinit(self):
            Machine.Timer.stopped += 1

    class Pin:
        OUT = 1
        levels: list = []

        def __init__(self, id, mode):
            pass

        def value(self, level):
            self.levels.append(level)

    mem32: dict = {}

    @staticmethod
    def reset_cause():
        return Machine.cause

    @staticmethod
    def reset():
        raise Reset()


class Micropython:
    @staticmethod
    def kbd_intr(char):
        pass


class Gateway:
    """In place of the gateway: ends as the test wants."""

    error: object = None

    @staticmethod
    async def main():
        if Gateway.error:
            raise Gateway.error  # type: ignore[misc]


sys.modules["machine"] = Machine  # type: ignore[assignment]
if sys.implementation.name != "micropython":
    sys.modules["micropython"] = Micropython  # type: ignore[assignment]

import rootlet  # noqa: E402
from rootlet import crash as crashes
from rootlet import deadline, health, leds, watchdog  # noqa: E402
from rootlet import kept as state  # noqa: E402
from rootlet.errors import RootletError  # noqa: E402

state.PATH = FOLDER + "/health.json"
health.print = crashes.print = lambda *_: None  # type: ignore[attr-defined]
health._board = lambda: {"reset": {"1": "power", "2": "hard", "3": "watchdog"}, "timer": 0, "led": None}
RP2 = {"watchdog": {"longest_ms": 8388, "off": [1234, 1]}}
ESP32 = {"watchdog": {"longest_ms": 0, "off": []}}


def write(text, mode="w"):
    with open(state.PATH, mode) as f:
        f.write(text)


def kept():
    with open(state.PATH) as f:
        return json.load(f)


def fresh():
    """As after power-up with an empty file."""
    health.clear()
    health._error = None
    health._linked = -1
    health._up_s = 0
    health._secrets[:] = []
    health._began = time.ticks_ms()
    health._short[0] = 0
    Machine.cause = 1


def start(cause):
    """One start with this reset cause; whether the gateway may run."""
    Machine.cause = cause
    health._error = None
    health._linked = -1
    health._up_s = 0
    return health.starting()


def crash(error=None):
    """The gateway of this start ends by an error."""
    health._pause_ms = 0
    Gateway.error = error or AttributeError("no such thing")
    sys.modules["rootlet.start"] = rootlet.start = Gateway  # type: ignore[assignment, attr-defined]
    try:
        health.run()
    except Reset:
        return True
    finally:
        del sys.modules["rootlet.start"], rootlet.start
    return False


def birth():
    return health.report("dev-1")


def test_an_ordinary_start_is_counted_once():
    fresh()
    assert start(1)
    assert kept()["boots"] == 1 and kept()["fails"] == 0
    said = birth()
    assert said["status"] == "online" and said["device"] == "dev-1" and said["reset"] == "power"
    assert said["boots"] == 1 and said["last_error"] is None and said["trouble"] is None
    assert start(1) and birth()["boots"] == 2


def test_five_crashes_lead_to_safe_mode_and_every_later_start_tries_once():
    fresh()
    for n in range(5):
        assert start(3 if n else 1)
        assert crash()
        assert kept()["fails"] == n + 1
    assert not start(3)  # safe mode
    assert Machine.Timer.made[-1][0] == 0
    assert start(1)  # one more try
    assert crash()
    assert not start(3)
    assert birth()["last_error"]["code"] == "CRASH"
    health.clear()
    assert start(1) and kept()["fails"] == 0 and birth()["last_error"] is None


def test_the_pause_grows_with_crashes_and_a_power_cycle_skips_it():
    fresh()
    pauses = []
    for n in range(4):
        start(3 if n else 1)
        pauses.append(health._pause_ms)
        crash()
    assert pauses[0] == 0 and pauses[1] < pauses[2] < pauses[3]
    start(1)
    assert health._pause_ms == 0
    write(json.dumps({"boots": 9, "crashes": 1 << 20, "end": "crash"}))
    start(3)
    assert 60000 < health._pause_ms <= 300000


def test_a_watchdog_reset_is_a_crash_and_its_name_is_told():
    fresh()
    start(1)
    for _ in range(5):
        assert kept()["fails"] < 5
        start(3)
    assert kept()["end"] == "safe"
    said = birth()
    assert said["reset"] == "watchdog" and said["last_error"]["code"] == "WATCHDOG"


def test_neither_power_cuts_nor_the_lack_of_a_network_are_crashes():
    fresh()
    for _ in range(12):
        assert start(1)
        for code in ("WIFI_NO_AP", "DNS", "TCP_TIMEOUT", "MQTT_CLOSED", "CERT_EXPIRED"):
            health.failed(RootletError(code, "of this test"))
    assert kept()["fails"] == kept()["crashes"] == 0
    assert birth()["trouble"] == {"code": "CERT_EXPIRED", "fact": "of this test"}


def test_ending_by_hand_is_no_crash_whatever_resets_the_board_then():
    fresh()
    for n in range(8):
        assert start(3)
        assert birth()["reset"] == ("asked" if n else "watchdog") and birth()["last_error"] is None
        health._pause_ms = 0
        Gateway.error = KeyboardInterrupt()
        sys.modules["rootlet.start"] = rootlet.start = Gateway  # type: ignore[assignment, attr-defined]
        try:
            health.run()
            raise AssertionError("Ctrl-C was lost")
        except KeyboardInterrupt:
            pass
        assert kept()["end"] == "asked"
    Gateway.error = None  # a wrong configuration: told, and main() returns
    health.run()
    assert kept()["fails"] == 0


def test_a_start_that_settles_clears_the_count():
    fresh()
    for n in range(3):
        start(3 if n else 1)
        crash()
    start(3)
    assert kept()["fails"] == 3
    health.connected()
    health.tick()
    assert kept()["fails"] == 3  # a connection of no length says nothing yet
    health._up_s = 10
    health.tick()
    assert kept()["fails"] == 0 and kept()["end"] == "ok"
    crash()
    assert kept()["fails"] == 0 and kept()["crashes"] == 4  # the pause still grows: no fast loop


def test_sixty_seconds_without_a_crash_settle_it_too():
    fresh()
    start(1)
    crash()
    start(3)
    health._up_s = 59
    health.tick()
    assert kept()["fails"] == 1
    health._up_s = 60
    health.tick()
    assert kept()["fails"] == 0


def test_a_long_run_begins_the_count_of_crashes_anew():
    fresh()
    for n in range(4):
        start(3 if n else 1)
        crash()
    start(3)
    health._up_s = 3600
    crash()
    assert kept()["crashes"] == 1 and kept()["ran"] == 3600
    start(3)
    assert birth()["last_error"]["after_s"] == 3600


def test_at_most_two_writes_a_start():
    fresh()
    writes = []
    real = health.save
    health.save = lambda **changes: writes.append(changes) or real(**changes)
    try:
        start(1)
        for at in (1, 20, 61, 1000):
            health.connected()
            health._up_s = at
            health.tick()
            health.failed(RootletError("MQTT_CLOSED", "x"))
    finally:
        health.save = real
    assert len(writes) == 2


def test_nonsense_in_the_file_never_crashes():
    for text in (
        "",
        "{",
        "[]",
        "null",
        "7",
        '"x"',
        "[" * 900,
        '{"boots": -1, "fails": "x", "end": 4, "code": null}',
        '{"boots": 99999999999999999999, "fails": true, "crashes": 1e9, "fact": ["x"]}',
        '{"fails": 1.5, "code": {"a": 1}}',
        "x" * 5000,
    ):
        fresh()
        write(text)
        assert start(3), text
        assert kept()["boots"] == 1
        birth()
    fresh()
    write(b"\xff\xfe\x00\x80" * 20, "wb")
    assert start(1)
    fresh()
    write(json.dumps({"boots": 3, "code": "C" * 5000, "fact": "f"}))
    start(1)
    write(json.dumps({"boots": 3, "code": "C" * 400, "fact": "f" * 400}))
    start(1)
    assert len(birth()["last_error"]["code"]) <= 120


def test_a_flash_that_takes_nothing_never_crashes_and_slows_a_crash_down():
    fresh()
    slept = []
    path, state.PATH = state.PATH, FOLDER + "/no/such/folder/health.json"
    module = health.time
    try:
        assert start(1)
        health.ended()

        class Time:
            ticks_ms = module.ticks_ms
            ticks_diff = module.ticks_diff
            sleep_ms = slept.append

        health.time = Time
        assert crash()
    finally:
        health.time = module
        state.PATH = path
    assert slept == [60000]


def test_the_last_error_is_bounded_and_holds_no_secret():
    fresh()
    start(1)
    health._secrets[:] = ["a-password", "other-password"]
    assert crash(ValueError("no such key: a-password, " + "x" * 500))
    fact = kept()["fact"]
    assert "a-password" not in fact and "***" in fact and "ValueError" in fact
    assert "test_health.py:" in fact and len(fact) <= 120
    start(3)
    assert crash(RootletError("STORE", "other-password does not fit"))
    assert kept()["code"] == "STORE" and kept()["fact"] == "*** does not fit"
    health.failed(RootletError("MQTT_REFUSED", "a-password"))
    assert birth()["trouble"]["fact"] == "***"


def test_the_keys_of_bluetooth_sensors_are_secrets():
    fresh()
    from rootlet import deadline

    before = deadline.on_wait[:]
    try:
        rows = [{"bindkey": "ab" * 16, "irk": None}, {"bindkey": None, "irk": "cd" * 16}]
        settings = {"wifi": {"networks": [{"password": ""}]}, "mqtt": {"password": "word-1"}, "watchdog_s": 0}
        for ble in (None, {"sensors": rows}):
            health._secrets[:] = []
            settings["ble"] = ble
            health.start(settings, {})
            assert health._secrets == ["word-1"] + (["ab" * 16, "cd" * 16] if ble else [])
    finally:
        deadline.on_wait[:] = before


def test_memory_that_runs_out_again_and_again_ends_the_gateway():
    fresh()
    start(1)
    told = 0
    try:
        while told < 9:
            health.failed(RootletError("TLS_MEMORY", "8192 B free"))
            told += 1
    except RootletError:
        pass
    assert told == 4
    health._short[0] = 4
    health._short[1] = time.ticks_add(time.ticks_ms(), -700000)
    health.failed(RootletError("MEMORY", "the last one was long ago"))
    health._short[0] = 4
    health.connected()
    health.failed(RootletError("MEMORY", "it worked in between"))


def bark(seconds, board):
    watchdog.stop()
    watchdog.start(seconds, board)
    Machine.WDT.fed = 0


def fed():
    before = Machine.WDT.fed
    watchdog.check()
    return Machine.WDT.fed > before


def test_the_watchdog_is_fed_while_all_are_in_time():
    bark(30, ESP32)
    assert Machine.WDT.timeouts[-1] == 30000
    made = len(Machine.Timer.made)
    watchdog.feed()
    watchdog.feed("room", 5000)
    assert fed()
    watchdog._due["room"] = time.ticks_add(time.ticks_ms(), -1)
    assert not fed()
    watchdog.feed()
    assert not fed()  # the gateway alone is not enough
    watchdog.feed("room", 5000)
    assert fed()
    watchdog._due[""] = time.ticks_add(time.ticks_ms(), -1)
    assert not fed()
    assert len(Machine.Timer.made) == made


def test_waiting_with_a_deadline_is_no_silence():
    bark(30, ESP32)
    watchdog.feed("room", 5000)
    watchdog._due[""] = time.ticks_add(time.ticks_ms(), 10)
    watchdog.waiting()
    assert time.ticks_diff(watchdog._due[""], time.ticks_ms()) > 29000
    assert time.ticks_diff(watchdog._due["room"], time.ticks_ms()) > 34000  # what is later stays
    deadline.on_wait[:] = [watchdog.waiting]
    try:
        before = Machine.WDT.fed
        deadline.waiting()
        assert Machine.WDT.fed > before
    finally:
        deadline.on_wait[:] = []


def test_where_the_hardware_is_too_short_a_timer_feeds_it():
    bark(60, RP2)
    assert Machine.WDT.timeouts[-1] == 8388
    id, period, callback = Machine.Timer.made[-1]
    assert id == -1 and period < 8388 // 2
    watchdog.feed()
    callback(None)
    assert Machine.WDT.fed == 1
    watchdog._due[""] = time.ticks_add(time.ticks_ms(), -1)
    callback(None)
    assert Machine.WDT.fed == 1


def test_stopping_switches_the_hardware_off_or_far_away():
    bark(60, RP2)
    stopped = Machine.Timer.stopped
    watchdog.stop()
    assert Machine.mem32 == {1234: 1} and Machine.Timer.stopped == stopped + 1
    bark(60, ESP32)
    watchdog.stop()
    assert Machine.WDT.timeouts[-1] > 86400000
    watchdog.stop()
    watchdog.feed()
    assert not watchdog._due


def test_zero_means_no_watchdog():
    before = len(Machine.WDT.timeouts)
    bark(0, RP2)
    watchdog.feed()
    watchdog.waiting()
    watchdog.check()
    assert len(Machine.WDT.timeouts) == before


def blinks(code):
    """How often a pattern is lit within one cycle, and for how long each time, ms."""
    count, ms = code
    cycle = 2 * count * ms + 1200
    levels = [leds.lit(code, t, 0) for t in range(0, cycle, 10)]
    starts = [i for i in range(len(levels)) if levels[i] and (i == 0 or not levels[i - 1])]
    return len(starts), sum(levels) * 10 // (len(starts) or 1)


def test_led_patterns():
    assert [blinks(p) for p in (leds.WIFI, leds.CLOCK, leds.CONNECTING)] == [(1, 100), (2, 100), (3, 100)]
    classes = {
        "WIFI_NO_AP": 1,
        "CLOCK_NOT_SET": 2,
        "TLS_MEMORY": 3,
        "CERT_NAME": 3,
        "MQTT_REFUSED": 4,
        "DNS": 5,
        "SLOT": 6,
    }
    for code, count in classes.items():
        assert blinks(leds.error(code)) == (count, 500), code
    assert leds.lit(leds.START, 5, 0)
    assert leds.lit(leds.CONNECTED, 1050, 1000) and not leds.lit(leds.CONNECTED, 2000, 1000)


def test_an_error_stays_on_the_led_until_the_connection_works():
    leds.show(leds.START)
    leds.show(leds.error("MQTT_CLOSED"))
    leds.show(leds.WIFI)
    assert leds._code == (4, 500)
    leds.show(leds.error("WIFI_NO_AP"))
    assert leds._code == (1, 500)
    leds.show(leds.CONNECTED)
    assert leds._code == leds.CONNECTED
    leds.show(leds.WIFI)
    assert leds._code == leds.WIFI


def test_a_board_without_an_led_does_nothing():
    before = len(Machine.Pin.levels)
    leds._pin = None
    leds.start({"led": None})
    leds.start({})
    leds.show(leds.START)
    leds.step()
    assert len(Machine.Pin.levels) == before
    leds.start({"led": 0})  # GPIO 0 is a pin
    assert len(Machine.Pin.levels) > before
    leds._pin = None


def test_a_crash_resets_the_board_whatever_fails_on_the_way():
    """Out of memory again and again: nobody watches the board any more, so it must not stay where it is."""
    fresh()
    start(1)
    save, count = health.save, health.count

    def fail(*args, **more):
        raise MemoryError

    try:
        health.save = fail
        assert crash()
        health.save, health.count = save, fail
        assert crash()
    finally:
        health.save, health.count = save, count


def test_what_is_to_be_saved_at_the_end_is_saved_and_cannot_stop_the_reset():
    fresh()
    start(1)
    saved = []

    def fail():
        raise MemoryError

    health.on_end[:] = [fail, lambda: saved.append(1)]
    try:
        assert crash() and saved == [1]
    finally:
        health.on_end[:] = []
