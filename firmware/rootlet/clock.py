"""The clock that certificates are judged by: a floor, several SNTP servers, and the last good time on flash."""

import json
import os
import select
import socket
import time

from . import sntp
from .deadline import READ, Deadline, wait, waiting
from .errors import RootletError

# Seconds between 1970 and the port's own epoch: 0, or 946,684,800 where time counts from 2000 (esp32).
EPOCH = 946684800 if time.gmtime(0)[0] == 2000 else 0
_TOO_FAR = 20 * 365 * 86400
_JUMP = 3600
_AGREE = 30


def set_rtc(seconds):
    """Set the board's clock. seconds: Unix seconds, UTC."""
    import machine

    t = time.gmtime(seconds - EPOCH)
    machine.RTC().datetime((t[0], t[1], t[2], t[6], t[3], t[4], t[5], 0))


class Clock:
    """Keeps the board's time believable.

    Args:
        floor: Unix seconds below which no time is believed (when the cert module was built).
        servers: "host" or "host:port" of SNTP servers, asked in turn.
        path: file for the last good time. timeout_ms: for each server.
        set_rtc: function that sets the board's clock to Unix seconds.
    """

    def __init__(self, floor, servers, path="clock.json", timeout_ms=3000, set_rtc=set_rtc):
        self.servers = servers
        self.path = path
        self.timeout_ms = timeout_ms
        self._set_rtc = set_rtc
        self.floor = max(floor, self._last_good(floor))
        self.good = False
        self.source = ""
        self.why = "no SNTP server has answered yet"

    def _last_good(self, floor):
        try:
            with open(self.path) as f:
                last = json.load(f)["last_good"]
            return last if isinstance(last, int) and 0 <= last - floor < _TOO_FAR else 0
        except (OSError, ValueError, KeyError, TypeError):
            return 0

    def read(self):
        """What the board's clock says, Unix seconds, good or not."""
        return int(time.time()) + EPOCH

    def now(self):
        """Unix seconds. Raises RootletError CLOCK_NOT_SET while the clock cannot be believed."""
        now = self.read()
        if not self.good or now < self.floor:
            t = time.gmtime(now - EPOCH)
            raise RootletError("CLOCK_NOT_SET", "it says %04d-%02d-%02d; %s" % (t[0], t[1], t[2], self.why))
        return now

    def sync(self):
        """Ask the servers until one gives a time that can be believed, and set the clock by it.

        A jump of more than an hour of a clock that was good needs a second server that agrees.
        Returns Unix seconds. Raises RootletError CLOCK_NOT_SET, also where a good clock was kept.
        """
        reasons = []
        doubted = None
        for server in self.servers:
            try:
                seconds = self._ask(server)
            except (OSError, sntp.BadReply, RootletError) as e:
                reasons.append("%s: %s" % (server, e.fact if isinstance(e, RootletError) else e))
                continue
            if not 0 <= seconds - self.floor < _TOO_FAR:
                reasons.append("%s: its time is before the build or too far ahead" % server)
                continue
            if self.good and abs(seconds - self.read()) > _JUMP:
                if doubted is None or abs(seconds - doubted) > _AGREE:
                    doubted = seconds
                    reasons.append("%s: jumps by %d s, unconfirmed" % (server, seconds - self.read()))
                    continue
            return self._accept(seconds, server)
        self.why = "; ".join(reasons)[:200] or "no SNTP server is configured"
        raise RootletError("CLOCK_NOT_SET", self.why)

    def _accept(self, seconds, server):
        self._set_rtc(seconds)
        if abs(self.read() - seconds) > 5:
            self.why = "the board's clock cannot be set"
            raise RootletError("CLOCK_NOT_SET", self.why)
        self.good = True
        self.source = server
        return seconds

    def keep(self, since):
        """Keep a moment that has certainly passed as the next floor, on flash.

        What the clock says is not certain: one false SNTP reply, kept, would lock the board out for months. A verified
        certificate shows that the day it starts on has come, and changes at renewals only.
        Args: since: Unix seconds, the newest start of a certificate of a verified chain.
        """
        if since <= self.floor:
            return
        self.floor = since
        # A new file, then renamed over the old: a cut of power leaves one of them whole.
        try:
            with open(self.path + ".new", "w") as f:
                json.dump({"last_good": since}, f)
            os.rename(self.path + ".new", self.path)
        except OSError:
            pass  # a full or read-only flash costs the memory of the moment, not the time itself

    def _ask(self, server):
        host, _, port = server.partition(":")
        waiting()
        try:
            address = socket.getaddrinfo(host, int(port or 123))[0][-1]
        except (OSError, ValueError, IndexError) as e:
            raise RootletError("DNS", "no address (%s)" % e) from None
        nonce = os.urandom(8)
        s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            s.setblocking(False)
            s.connect(address)
            s.send(sntp.request(nonce))
            poller = select.poll()
            poller.register(s, READ)
            if not wait(poller, Deadline(self.timeout_ms)):
                raise RootletError("NET_TIMEOUT", "no answer")
            return sntp.parse(s.recv(128), nonce)
        finally:
            s.close()
