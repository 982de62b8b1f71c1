"""Senders of advertisements for the virtual air (air.py): one sensor, or a crowd of strangers."""

import asyncio
import random
import threading
import time
from collections.abc import Callable, Iterable

from bumble import ll
from bumble.link import LocalLink

from host_tools.sim import adverts_made as made
from host_tools.sim.peripheral_base import Started, parse_address


class Advertiser(Started):
    """Sends advertisements that nobody can connect to (ADV_NONCONN_IND).

    Args:
        address: the sender's; with irk only the first name it is known by, as it then has resolvable addresses.
        payload: at most 31 bytes, or a function of the number of advertisements sent before (for counters).
        interval_ms: between two; 0: none but by send().
        irk: 16 bytes, most significant first: a new resolvable private address every change_s seconds, or by rotate().
    """

    def __init__(
        self,
        address: str,
        payload: bytes | Callable[[int], bytes] = b"",
        *,
        interval_ms: int = 1000,
        irk: bytes | None = None,
        change_s: float = 900,
        public: bool | None = None,
        rssi: int = -60,
    ) -> None:
        super().__init__(address, public, rssi)
        self.sent = 0
        self._payload = payload
        self._interval_s = interval_ms / 1000
        self._irk = irk
        self._change_s = change_s
        self._task: asyncio.Task[None] | None = None

    async def start(self, link: LocalLink) -> None:
        """Begin, in the running loop."""
        self.radio = self._radio(link, on_link=False)
        if self._irk is not None:
            self._rotate()
        if self._interval_s:
            self._task = asyncio.get_running_loop().create_task(self._run())

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
            self._task = None
        self._loop = None

    async def _run(self) -> None:
        changed = time.monotonic()
        while True:
            if self._irk is not None and time.monotonic() - changed >= self._change_s:
                self._rotate()
                changed = time.monotonic()
            await self._send()
            await asyncio.sleep(self._interval_s)

    async def _send(self) -> None:
        payload = self._payload(self.sent) if callable(self._payload) else self._payload
        if self._link is not None:
            self._link.send_advertising_pdu(self.radio, ll.AdvNonConnInd(self._address, payload))
            self.sent += 1

    def _rotate(self) -> None:
        if self._irk is not None:
            self.address = made.resolvable_address(self._irk)
            self._address = parse_address(self.address, public=False)

    def set(self, payload: bytes | Callable[[int], bytes]) -> None:
        """Send another payload from now on."""
        self._payload = payload

    def send(self) -> None:
        """Send one now."""
        self._do(self._send())

    def rotate(self) -> None:
        """Take a new resolvable private address now."""
        if self._irk is None:
            raise RuntimeError("only an advertiser with an irk changes its address")
        self._rotate()


class Crowd(Started):
    """Many strangers: adverts at a rate, from many addresses in turn.

    Args:
        rate: adverts a second, all together.
        addresses: how many strangers, with static random addresses that follow the seed.
        among: addresses that are among them as well, sending the same payloads.
        payload: a function of address and number, or bytes; None: random but well-formed manufacturer data.
        seconds: how long; rate * seconds are sent, exactly; None: until it is stopped.
    """

    def __init__(
        self,
        rate: int = 100,
        addresses: int = 50,
        among: Iterable[str] = (),
        payload: bytes | Callable[[str, int], bytes] | None = None,
        seconds: float | None = None,
        seed: int = 0,
        rssi: int = -80,
    ) -> None:
        noise = random.Random(seed)  # noqa: S311 - to be repeatable
        strangers = [bytes((noise.randrange(192, 255), *noise.randbytes(5))) for _ in range(addresses)]
        self.addresses = [":".join(f"{byte:02X}" for byte in one) for one in strangers] + list(among)
        if not self.addresses or rate <= 0:
            raise ValueError("a crowd needs addresses and a rate above 0")
        noise.shuffle(self.addresses)
        super().__init__(self.addresses[0], rssi=rssi)
        self.sent = 0
        self.took_s = 0.0
        self.done = threading.Event()
        self._pairs = [(one, parse_address(one)) for one in self.addresses]
        self._rate = rate
        self._count = None if seconds is None else round(rate * seconds)
        self._payload = payload
        self._noise = noise
        self._task: asyncio.Task[None] | None = None

    async def start(self, link: LocalLink) -> None:
        """Begin, in the running loop."""
        self.radio = self._radio(link, on_link=False)
        self._task = asyncio.get_running_loop().create_task(self._run(link))

    async def stop(self) -> None:
        """End."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        self._loop = None

    def wait(self, timeout_s: float = 60) -> int:
        """The number sent, when all are. Raises TimeoutError."""
        if not self.done.wait(timeout_s):
            raise TimeoutError(f"{self.sent} adverts were sent in {timeout_s} s")
        return self.sent

    async def _run(self, link: LocalLink) -> None:
        begun = time.monotonic()
        while self._count is None or self.sent < self._count:
            due = int((time.monotonic() - begun) * self._rate) + 1
            for _ in range(min(due, due if self._count is None else self._count) - self.sent):
                text, address = self._pairs[self.sent % len(self._pairs)]
                link.send_advertising_pdu(self.radio, ll.AdvNonConnInd(address, self._one(text)))
                self.sent += 1
            await asyncio.sleep(0.005)
        self.took_s = time.monotonic() - begun
        self.done.set()

    def _one(self, address: str) -> bytes:
        if self._payload is None:
            return b"\x02\x01\x06" + made.field(0xFF, self._noise.randbytes(self._noise.randrange(3, 26)))
        return self._payload if isinstance(self._payload, bytes) else self._payload(address, self.sent)
