"""Simulated: pins that remember, ADC and temperature from the script, the clock, watchdog and reset by the host."""
# ruff: noqa: F403, F405

import time

import _sim
import _thread
import micropython
import utime
from umachine import *

_pause_ms = utime.sleep_ms  # of a thread of its own: the radio is served where the program sleeps
_RP2 = _sim.board["port"] == "rp2"
PWRON_RESET = 1
WDT_RESET = 3
if not _RP2:
    HARD_RESET = 2
    DEEPSLEEP_RESET = 4
    SOFT_RESET = 5


_wait = _sim.wait


def reset():
    _sim.mark("reset machine")
    _wait()


def soft_reset():
    raise SystemExit


def reset_cause():
    # rp2 resets by its watchdog when it is asked to.
    causes = {"power": 1, "wdt": 3, "machine": 3 if _RP2 else 2, "deepsleep": 4}
    return causes.get(_sim.state()["cause"], 1 if _RP2 else 2)


def unique_id():
    given = _sim.script().get("unique_id")
    return bytes.fromhex(given) if given else b"\xe6\x60\x00\x00\x00\x00\x00\x01"[: 8 if _RP2 else 6]


def freq(hz=None):
    global _hz
    if hz is None:
        return _hz
    _hz = hz


_hz = _sim.board["cpu_hz"]


def disable_irq():
    return 0


def enable_irq(state=0):
    pass


def lightsleep(ms=0):
    time.sleep_ms(ms)


def deepsleep(ms=0):
    if _RP2:  # a light sleep, in which the watchdog counts on, and then a reset
        time.sleep_ms(ms)
        reset()
    _sim.mark("sleep %d" % ms)
    _wait()


class Pin(PinBase):
    IN = 0
    OUT = 1 if _RP2 else 3
    OPEN_DRAIN = 2 if _RP2 else 7
    PULL_UP = 1 if _RP2 else 2
    PULL_DOWN = 2 if _RP2 else 1
    IRQ_RISING = 8 if _RP2 else 1
    IRQ_FALLING = 4 if _RP2 else 2
    _levels = {}

    def __init__(self, id, mode=-1, pull=-1, *, value=None, **kwargs):
        if isinstance(id, Pin):
            id = id._id
        if isinstance(id, str) and id.startswith("GP") and id[2:].isdigit():
            id = int(id[2:])
        if isinstance(id, int) and not 0 <= id < (30 if _RP2 else 49) or id == "LED" and not _RP2:
            raise ValueError("invalid pin")
        self._id = id
        if value is not None:
            self.value(value)

    def init(self, mode=-1, pull=-1, *, value=None, **kwargs):
        if value is not None:
            self.value(value)

    def value(self, level=None):
        if level is None:
            return self._levels.get(self._id, 0)
        self._levels[self._id] = 1 if level else 0

    __call__ = value

    def on(self):
        self.value(1)

    def off(self):
        self.value(0)

    high = on
    low = off

    def toggle(self):
        self.value(not self.value())

    def irq(self, handler=None, trigger=0, **kwargs):
        pass

    def __repr__(self):
        return "Pin(%s)" % self._id


class ADC:
    CORE_TEMP = 4
    ATTN_0DB = 0
    ATTN_2_5DB = 1
    ATTN_6DB = 2
    ATTN_11DB = 3

    def __init__(self, source, **kwargs):
        pin = source._id if isinstance(source, Pin) else source
        pins = _sim.board["pins"]["adc"]
        self._temperature = _RP2 and pin == _sim.board["temperature"]["channel"] and not isinstance(source, Pin)
        if _RP2 and not isinstance(source, Pin) and isinstance(pin, int) and 0 <= pin < len(pins):
            pin = pins[pin]
        if pin not in pins and not self._temperature:
            raise ValueError("Pin doesn't have ADC capabilities" if _RP2 else "invalid pin")
        self._pin = str(pin)

    def atten(self, value):
        pass

    def read_u16(self):
        sensors = _sim.script().get("sensors", {})
        if self._temperature:
            volts = 0.706 - (sensors.get("temperature_c", 25) - 27) * 0.001721
            return int(volts / 3.3 * 65535 + 0.5)
        return sensors.get("adc", {}).get(self._pin, 0)

    def read_uv(self):
        return self.read_u16() * 3300000 // 65535


class RTC:
    def __init__(self, id=0):
        pass

    def datetime(self, new=None):
        if new is None:
            t = time.gmtime()
            return (t[0], t[1], t[2], t[6], t[3], t[4], t[5], 0)
        if len(new) != 8:
            raise ValueError("requested length 8 but object has length %d" % len(new))
        _sim.set_unix(time.mktime((new[0], new[1], new[2], new[4], new[5], new[6], 0, 0)) + _sim.epoch())

    def init(self, new):
        self.datetime((new[0], new[1], new[2], 0, new[3], new[4], new[5], 0))


class WDT:
    def __init__(self, id=0, timeout=5000):
        if timeout <= 0 or _RP2 and timeout > 8388:
            raise ValueError("timeout")
        self._ms = timeout
        self.feed()

    def feed(self):
        _sim.mark("wdt %d" % self._ms)


class Timer:
    """A thread that schedules the callback, which runs between two instructions of the program, as on a board.

    Unlike a board's, this interpreter schedules nothing while it waits at the prompt: there the thread calls itself.
    """

    ONE_SHOT = 0
    PERIODIC = 1
    _PATIENCE_MS = 300

    def __init__(self, id=-1, **kwargs):
        if not _RP2 and not 0 <= id <= 3 or _RP2 and id != -1:
            raise ValueError("Timer doesn't exist")
        self._run = 0
        if kwargs:
            self.init(**kwargs)

    def init(self, *, mode=PERIODIC, period=-1, freq=-1, callback=None, hard=False):
        self._run += 1
        self._callback = callback
        self._waiting = False
        _thread.start_new_thread(self._tick, (self._run, mode, period if period >= 0 else int(1000 / freq)))

    def _call(self, run):
        if self._waiting and run == self._run:
            self._waiting = False
            self._callback(self)

    def _tick(self, run, mode, period):
        waited = 0
        while run == self._run:
            _pause_ms(period)
            if not self._waiting:
                waited = 0
                self._waiting = True
                try:
                    micropython.schedule(self._call, run)
                except RuntimeError:
                    pass  # the queue is full
            elif waited > self._PATIENCE_MS:
                self._call(run)
            waited += period
            if mode == Timer.ONE_SHOT:
                return

    def deinit(self):
        self._run += 1


class _Mem32:
    """The registers that firmware writes: the bit of rp2's watchdog that has it count, cleared by its alias."""

    def __setitem__(self, address, value):
        if address != (_sim.board["watchdog"]["off"] + [0])[0]:
            raise ValueError("no such register in the virtual board")
        if value & 1 << 30:
            _sim.mark("wdt 0")


mem32 = _Mem32()
