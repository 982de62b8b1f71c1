"""The connection to the broker, kept for years: which broker, when to try, and whether it is still there."""

import asyncio
import time

from . import mqtt
from .backoff import Backoff
from .errors import RootletError

STABLE_MS = 60000
_ACK_MS = 15000
_IDLE_MS = 20
_MOST_REASONS = 8
_AT_ONCE = 32  # packets taken in before the other tasks have their turn


class Link:
    """One MQTT connection at a time, to the first of several brokers that takes us, fed from an outbox.

    Args:
        settings: the "mqtt" section of the configuration. device: the client id. trust: how brokers are judged.
        outbox: see outbox.Outbox.
    Attributes: client (mqtt.Client); reasons, how often a connection ended or failed by code; handshake_ms of the
    last one that succeeded; broker, (host, port) in use; acked, how many readings brokers have acknowledged; answered,
    set at the first PUBACK of each connection.
    """

    def __init__(self, settings, device, trust, outbox):
        m = settings
        self._settings = settings
        self._outbox = outbox
        self._qos = m["qos"]
        self._brokers = [(m["host"], m["port"])] + [(row["host"], row["port"]) for row in m["brokers"]]
        self._at = 0
        self._from = None  # the broker that a return to the first one has left
        self._numbers: dict = {}  # packet id -> number in the outbox
        self._backoff = Backoff(int(m["retry_first_s"] * 1000), int(m["retry_longest_s"] * 1000))
        self._began = None
        self._stable = False  # kept, since ticks wrap round after some days
        self._heard = time.ticks_ms()
        self._due = None  # when what was sent last without an answer was sent
        keepalive = m["keepalive_s"]
        self._ping_ms = keepalive * 500
        # Half a keepalive of silence, then an answer within three quarters of one: dead after 1.25 keepalives at most.
        self._answer_ms = min(_ACK_MS, keepalive * 750)
        self.reasons: dict = {}
        self.handshake_ms = 0
        self.acked = 0
        self.answered = False
        self._first = self._progress = False
        self.client = mqtt.Client(
            device, m["host"], m["port"], trust, m["user"], m["password"], keepalive, window=m["window"]
        )
        self.client.on_ack = self._acknowledged

    @property
    def broker(self):
        return self._brokers[self._at]

    def connect(self, clean=False):
        """Connect to the broker whose turn it is. Returns whether it kept a session. Raises: see mqtt.Client.

        Args: clean: it must not, whatever the configuration says.
        """
        client = self.client
        client.server, client.port = self.broker
        self._outbox.release()  # the handshake needs the memory
        began = time.ticks_ms()
        kept = client.connect(clean or self._settings["session"] == "clean")
        self._began = self._heard = time.ticks_ms()
        self._due = None
        self._first = True
        self.handshake_ms = time.ticks_diff(self._began, began)
        client.sock.timeout_ms = self._answer_ms
        self._numbers.clear()
        self._outbox.rewind()
        return kept

    def ended(self, code=""):
        """The connection has ended, or an attempt has failed. Returns milliseconds to wait before the next.

        Args: code: of the error; none where we ended it ourselves to return to the first broker.
        """
        stable, self._stable = self._stable, False
        self._began = None
        self.client.close()
        self._outbox.rewind()
        if not code:
            self._from, self._at = self._at or None, 0
            return 0
        if code not in self.reasons and len(self.reasons) >= _MOST_REASONS:
            self.reasons["other"] = self.reasons.get("other", 0) + 1
        else:
            self.reasons[code] = self.reasons.get(code, 0) + 1
        if stable:
            self._backoff.stable()
        elif self._from is not None:
            # The first broker is not back yet: to the one that was left, at once.
            self._at, self._from = self._from, None
            return 0
        else:
            self._at = (self._at + 1) % len(self._brokers)
        self._from = None
        return self._backoff.failed(code)

    def publish(self, topic, text, retain=True):
        """Publish what need not outlive the connection. Returns the packet id. Raises RootletError MQTT_*."""
        self._expect()
        return self.client.publish(topic, text, retain=retain, qos=1, keep=False)

    def _expect(self):
        if self._due is None:
            self._due = time.ticks_ms()

    def _acknowledged(self, pid):
        self._progress = True
        if self._first:
            self._first, self.answered = False, True
        number = self._numbers.pop(pid, None)
        if number is not None:
            self._outbox.acked(number)
            self.acked += 1

    def pump(self):
        """Hand to MQTT what the outbox has, as far as the window allows. Returns how many. Raises RootletError."""
        client, outbox, qos = self.client, self._outbox, self._qos
        count = 0
        while len(client.inflight) < client.window and count < _AT_ONCE:
            entry = outbox.next()
            if entry is None:
                break
            number, topic, payload, again = entry
            pid = client.publish(topic, payload, qos=qos, dup=again, keep=False)
            if pid:
                self._numbers[pid] = number
            else:
                outbox.acked(number)
                self.acked += 1
            count += 1
        if count and qos:
            self._expect()
        return count

    def listen(self):
        """Take in what has come. Returns how many packets. Raises RootletError."""
        count = 0
        self._progress = False
        while count < _AT_ONCE and self.client.check_msg():
            count += 1
        if count:
            self._heard = time.ticks_ms()
            if not self.client.inflight:
                self._due = None
            elif self._progress:  # a broker that sends anything else does not answer by that
                self._due = self._heard
        return count

    def check(self):
        """Ask a silent broker whether it is there. Raises RootletError MQTT_TIMEOUT where it does not answer."""
        now = time.ticks_ms()
        if not self._stable:
            self._stable = time.ticks_diff(now, self._began) > STABLE_MS
        if self._due is not None and time.ticks_diff(now, self._due) > self._answer_ms:
            quiet = time.ticks_diff(now, self._heard)
            raise RootletError("MQTT_TIMEOUT", "silent for %d.%d s" % (quiet // 1000, quiet // 100 % 10))
        if self._due is None and time.ticks_diff(now, self._heard) > self._ping_ms:
            self.client.ping()
            self._expect()

    def _time_to_return(self):
        if self._at == 0 or not self._stable:
            return False
        return time.ticks_diff(time.ticks_ms(), self._began) > self._settings["failback_s"] * 1000

    async def serve(self, turn):
        """Publish what the outbox has, until something breaks (raises RootletError).

        Returns True where it is time to try the first broker again, with nothing on its way.
        Args: turn: function called some fifty times a second; where it returns True, this returns False.
        """
        idle = 0
        while not turn():
            back = self._time_to_return()
            busy = self.listen()
            if not back:
                busy += self.pump()
            elif not self.client.inflight:
                return True
            self.check()
            # An answer is near just after something has come or gone.
            idle = 0 if busy else min(_IDLE_MS, 2 * idle + 1)
            await asyncio.sleep_ms(idle)
        return False
