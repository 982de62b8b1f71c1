"""What the server answers to those who may see it: the page, its files, the login and what is known."""

import asyncio
import contextlib
import math
import mimetypes
import threading
import time
from collections.abc import Callable
from importlib import resources
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs

from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, PlainTextResponse, RedirectResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp
from starlette.websockets import WebSocket

from host_tools.dashboard import auth, login
from host_tools.dashboard.gate import CHALLENGE, MOST_BODY, Gate, too_large
from host_tools.dashboard.live import Live
from host_tools.dashboard.sockets import Hub, text_of
from host_tools.failure import Failure

if TYPE_CHECKING:
    from host_tools.dashboard.serve import Settings
    from host_tools.history import History

_POINTS = 300
_MOST_EVENTS = 1000
_LONGEST_HOURS = 24 * 400
_LONGEST_NAME = 200


def _files() -> dict[str, tuple[bytes, str]]:
    """The page's files, read once: name to (content, media type). No path is ever made of what a client sends."""
    found = {}
    for entry in resources.files("host_tools.dashboard").joinpath("static").iterdir():
        if entry.is_file():
            kind = mimetypes.guess_type(entry.name)[0] or "application/octet-stream"
            found[entry.name] = (entry.read_bytes(), kind)
    return found


def _json(message: dict[str, Any], status: int = 200) -> Response:
    return Response(text_of(message), status, media_type="application/json")


def _wrong(text: str, status: int = 400) -> Response:
    return _json({"error": text}, status)


class Page:
    """The routes, and the gate before them."""

    def __init__(
        self,
        settings: "Settings",
        sessions: auth.Sessions,
        hub: Hub,
        live: Live,
        state: Callable[[], dict[str, Any]],
        totals: Callable[[], dict[str, Any]],
        history: "History | None",
    ) -> None:
        self._settings, self._sessions, self._hub, self._live = settings, sessions, hub, live
        self._state, self._totals, self._history = state, totals, history
        self._attempts = auth.Attempts()
        self._files = _files()
        self._asking = asyncio.Semaphore(2)

    def app(self) -> ASGIApp:
        """The application."""
        return Gate(Starlette(routes=self.routes()), self._settings, self._sessions)

    def routes(self) -> list[Route | WebSocketRoute]:
        """Every path there is."""
        with_token = [
            Route("/login", self._login, methods=["POST"]),
            Route("/logout", self._logout, methods=["POST"]),
        ]
        return [
            Route("/", self._index),
            Route("/static/{name}", self._static),
            Route("/api/devices", self._devices),
            Route("/api/device/{device:path}", self._device),
            Route("/api/series", self._series),
            Route("/api/events", self._events),
            WebSocketRoute("/ws", self._socket),
            *(with_token if self._settings.mtls is None else []),
        ]

    async def _index(self, _: Request) -> Response:
        return self._file("index.html")

    async def _static(self, request: Request) -> Response:
        return self._file(request.path_params["name"])

    def _file(self, name: str) -> Response:
        if name not in self._files:
            return PlainTextResponse("there is no such file\n", 404)
        content, kind = self._files[name]
        return Response(content, media_type=kind)

    async def _login(self, request: Request) -> Response:
        address = request.client.host if request.client else ""
        if too_often := self._too_often(address):
            return too_often
        body = b""
        try:
            async for piece in request.stream():
                body += piece
                if len(body) > MOST_BODY:
                    return too_large()
        except ClientDisconnect:
            return Response(status_code=400)
        # Once more: many may have been let through to here at the same time, and have kept their tokens back.
        if too_often := self._too_often(address):
            return too_often
        try:
            given = parse_qs(body.decode("ascii"), max_num_fields=8).get("token", [""])[0]
        except ValueError:
            given = ""
        if not auth.same(self._settings.token, given):
            self._attempts.failed(address)
            return HTMLResponse(login.page(), 401, CHALLENGE)
        return RedirectResponse("/", 303, {"set-cookie": auth.set_cookie(self._sessions.open())})

    def _too_often(self, address: str) -> Response | None:
        wait_s = self._attempts.wait_s(address)
        if wait_s <= 0:
            return None
        headers = {"retry-after": str(math.ceil(wait_s))}
        return PlainTextResponse("too many wrong tokens: wait\n", 429, headers)

    async def _logout(self, request: Request) -> Response:
        self._sessions.close(request.scope["state"]["session"])
        return RedirectResponse("/", 303, {"set-cookie": auth.set_cookie("", 0)})

    async def _devices(self, _: Request) -> Response:
        rows = self._live.changed(0)[1]
        return _json({**self._state(), "rows": rows, "totals": self._totals()})

    async def _device(self, request: Request) -> Response:
        found = self._live.detail(request.path_params["device"])
        return _json(found) if found else _wrong("there is no such device", 404)

    async def _series(self, request: Request) -> Response:
        asked = request.query_params
        names = [asked.get(name, "") for name in ("device", "sensor", "quantity")]
        hours = _number(asked.get("hours", "24"), _LONGEST_HOURS)
        if hours is None or not all(0 < len(name) <= _LONGEST_NAME for name in names):
            return _wrong(f"device, sensor, quantity and hours (more than 0, at most {_LONGEST_HOURS}) are expected")
        if self._history is None:
            return _wrong("no history is kept", 404)
        device, sensor, quantity = names
        until = time.time()
        series = self._history.series
        return await self._ask("points", lambda: series(device, sensor, quantity, until - hours * 3600, until, _POINTS))

    async def _events(self, request: Request) -> Response:
        asked = request.query_params
        device = asked.get("device", "")
        limit = _number(asked.get("limit", "100"), _MOST_EVENTS)
        if limit is None or len(device) > _LONGEST_NAME:
            return _wrong(f"device and limit (1 to {_MOST_EVENTS}) are expected")
        if self._history is None:
            return _wrong("no history is kept", 404)
        events = self._history.events
        return await self._ask("events", lambda: events(device or None, int(limit) or 1))

    async def _ask(self, name: str, question: Callable[[], Any]) -> Response:
        """Ask the history, in a thread; two questions at a time."""
        async with self._asking:
            try:
                return _json({name: await _in_thread(question)})
            except Failure as failure:
                return _wrong(failure.because, 503)

    async def _socket(self, socket: WebSocket) -> None:
        await self._hub.serve(socket, socket.scope["state"]["session"])


async def _in_thread(call: Callable[[], Any]) -> Any:
    """What a call returns. Its thread does not hold up the end of the process, as those of asyncio.to_thread do."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def done(result: Any, error: Exception | None) -> None:
        if future.done():
            return
        if error:
            future.set_exception(error)
        else:
            future.set_result(result)

    def work() -> None:
        result, error = None, None
        try:
            result = call()
        except Exception as e:
            error = e
        with contextlib.suppress(RuntimeError):  # the loop has ended
            loop.call_soon_threadsafe(done, result, error)

    threading.Thread(target=work, name="question", daemon=True).start()
    return await future


def _number(text: str, most: float) -> float | None:
    try:
        found = float(text)
    except ValueError:
        return None
    return found if 0 < found <= most else None
