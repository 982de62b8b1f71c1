"""The WebSocket of the page: one rhythm for all clients, and a bounded state for each.

Every TICK_S seconds what has changed is put into one text for all. A client that is still busy with an older text gets
nothing piled up: it is behind, and as soon as it has read, it is told everything anew.
"""

import asyncio
import json
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from starlette.responses import PlainTextResponse
from starlette.websockets import WebSocket, WebSocketDisconnect

from host_tools.dashboard.live import Live

MOST_CLIENTS = 16
LONGEST_MESSAGE = 1024
_LONGEST_NAME = 200
TICK_S = 0.5
_REFUSED = 1008  # policy violation, RFC 6455 section 7.4.1
_log = logging.getLogger("rootlet.dashboard")


def text_of(message: dict[str, Any]) -> str:
    """As JSON; what JSON cannot say is an error here, not in the browser."""
    return json.dumps(message, allow_nan=False, separators=(",", ":"))


@dataclass(eq=False)
class Client:
    """One page. waiting: at most one text of each kind. behind: it has to be told everything anew. busy: it is being
    sent something. fresh: it does not know the newest of the device it has opened.
    """

    session: str
    device: str | None = None
    behind: bool = True
    waiting: dict[str, str] = field(default_factory=dict)
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    busy: bool = False
    fresh: bool = False
    told_at: float = 0.0
    over: bool = False

    def offer(self, kind: str, text: str) -> None:
        """Give it a text to send. Of the devices' changes none may be left out, of all else the last one counts."""
        if kind == "devices" and (self.behind or kind in self.waiting):
            self.behind = True
            self.waiting.pop(kind, None)
            return
        self.waiting[kind] = text
        self.wake.set()


class Hub:
    """Tells all clients what `live` knows.

    Args:
        live: changed in this thread only.
        state: what `hello` says beside the totals: broker, connected, trouble. totals: of `live` and of the feed.
        valid: whether a session is still good. silence_s: a client that does not take a text for so long is dropped.
    """

    def __init__(
        self,
        live: Live,
        state: Callable[[], dict[str, Any]],
        totals: Callable[[], dict[str, Any]],
        valid: Callable[[str], bool],
        silence_s: float = 20,
    ) -> None:
        self._live, self._state, self._totals, self._valid = live, state, totals, valid
        self._silence_s = silence_s
        self._clients: set[Client] = set()
        self._revision = 0
        self._told = ""
        self._counts: dict[tuple[str, str, str], int] = {}

    @property
    def count(self) -> int:
        """How many clients there are."""
        return len(self._clients)

    async def run(self) -> None:
        """Until it is cancelled."""
        while True:
            await asyncio.sleep(TICK_S)
            try:
                self.tick()
            except Exception:
                # One bad row must not end the page for good.
                _log.exception("the page could not be told what changed")

    def tick(self) -> None:
        """Tell all clients what has changed since the last time."""
        if not self._clients:
            return
        for client in self._clients:
            if not self._valid(client.session):
                client.over = True
                client.wake.set()
        changed = self._flush()
        everything = None
        for client in self._clients:
            if client.behind and not client.busy and not client.waiting:
                everything = everything or self.everything()
                client.behind = False
                client.waiting["devices"] = everything
                client.wake.set()
        for client in self._clients:
            client.fresh = client.fresh or client.device in changed
            self._tell_device(client)

    def _tell_device(self, client: Client) -> None:
        """Tell a client about the device it has opened, where there is news and the last time is long enough ago."""
        now = time.monotonic()
        if client.fresh and client.device is not None and now - client.told_at > TICK_S * 0.9:
            client.fresh, client.told_at = False, now
            client.offer("device", text_of({"type": "device", "device": self._live.detail(client.device)}))

    def broker(self) -> None:
        """Tell all clients at once whether the broker is there."""
        state = self._state()
        text = text_of({"type": "broker", "connected": state["connected"], "trouble": state["trouble"]})
        for client in self._clients:
            client.offer("broker", text)

    def _flush(self) -> set[str]:
        """Tell those who know the last state what has changed since; returns the devices that did."""
        revision, rows = self._live.changed(self._revision)
        self._revision = revision
        changed = {row["id"] for row in rows}
        for row in rows:
            for reading in row["readings"]:
                key = row["id"], reading["sensor"], reading["quantity"]
                new = reading["count"] - self._counts.get(key, 0)
                self._counts[key] = reading["count"]
                spark = reading.pop("spark")
                reading["new"] = spark[-new:] if new > 0 else []
        totals = self._totals()
        said = text_of(totals)
        if rows or said != self._told:
            self._told = said
            text = text_of({"type": "devices", "rows": rows, "totals": totals, "now": time.time()})
            for client in self._clients:
                client.offer("devices", text)
        return changed

    def everything(self) -> str:
        """All devices as they were told last: the state that the next change is added to."""
        self._flush()
        rows = self._live.changed(0)[1]
        return text_of({"type": "devices", "rows": rows, "all": True, "totals": self._totals(), "now": time.time()})

    async def serve(self, socket: WebSocket, session: str) -> None:
        """Serve one client, whose right to be here has been checked, until it goes or has to go."""
        if len(self._clients) >= MOST_CLIENTS:
            refusal = PlainTextResponse(f"{MOST_CLIENTS} pages are open\n", 503)
            await socket.send_denial_response(refusal)
            return
        client = Client(session)
        self._clients.add(client)
        try:
            # Before anything else can be: a tick may come while the handshake goes on.
            hello = {"type": "hello", **self._state(), "now": time.time(), "totals": self._totals()}
            client.offer("hello", text_of(hello))
            async with asyncio.timeout(self._silence_s):
                await socket.accept()
            sending = asyncio.create_task(self._send(socket, client))
            receiving = asyncio.create_task(self._receive(socket, client))
            try:
                await asyncio.wait([sending, receiving], return_when=asyncio.FIRST_COMPLETED)
            finally:
                sending.cancel()
                receiving.cancel()
                ends = await asyncio.gather(sending, receiving, return_exceptions=True)
            await self._goodbye(socket, [end for end in ends if isinstance(end, Exception)])
        except (TimeoutError, WebSocketDisconnect):
            return  # uvicorn closes the connection of a client that is no longer served
        finally:
            self._clients.discard(client)

    async def _goodbye(self, socket: WebSocket, ends: list[Exception]) -> None:
        for end in ends:
            if isinstance(end, _Refused):
                async with asyncio.timeout(1):
                    await socket.close(_REFUSED, str(end))
            elif not isinstance(end, TimeoutError | WebSocketDisconnect | RuntimeError):
                raise end

    async def _send(self, socket: WebSocket, client: Client) -> None:
        while True:
            await client.wake.wait()
            client.wake.clear()
            if client.over:
                raise _Refused("the session has ended")
            if "hello" in client.waiting and client.behind:
                client.behind = False
                client.waiting["devices"] = self.everything()
            while client.waiting:
                text = client.waiting.pop(next(iter(client.waiting)))
                client.busy = True
                async with asyncio.timeout(self._silence_s):
                    await socket.send_text(text)
                client.busy = False

    async def _receive(self, socket: WebSocket, client: Client) -> None:
        while True:
            message = await socket.receive()
            if message["type"] == "websocket.disconnect":
                raise WebSocketDisconnect(message.get("code") or 1005)
            client.device, client.fresh = wanted(message.get("text")), True
            self._tell_device(client)


class _Refused(Exception):
    """The client has to go: the text says why."""


def wanted(text: str | None) -> str | None:
    """The device in {"type": "open", "device": …}, the one thing that a client may say. Raises _Refused."""
    if text is None or len(text.encode("utf-8", "surrogatepass")) > LONGEST_MESSAGE:
        raise _Refused("a text of at most 1 KB is expected")
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        said = None
    if not isinstance(said, dict) or said.keys() != {"type", "device"} or said["type"] != "open":
        raise _Refused("only an open message is expected")
    device = said["device"]
    if device is not None and not (isinstance(device, str) and len(device) <= _LONGEST_NAME):
        raise _Refused("the device is a name or null")
    return device
