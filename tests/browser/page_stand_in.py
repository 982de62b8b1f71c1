"""A stand-in for the dashboard's server, to look at its page and to test it alone: plain HTTP, made-up devices.

python -m tests.browser.page_stand_in --devices 1000 --rate 1000
"""

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import queue
import random
import re
import socket
import threading
import time
from pathlib import Path
from typing import Any

import uvicorn
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, JSONResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket, WebSocketDisconnect

from host_tools import dashboard
from tests.browser.made_up import Row, detailed, fleet, wave

STATIC = Path(dashboard.__file__).parent / "static"
TOKEN = "right"


def _policy() -> str:
    login = (STATIC / "login.html").read_text()
    script, style = (
        base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()
        for name in ("script", "style")
        for found in re.findall(rf"<{name}>(.*?)</{name}>", login, re.DOTALL)
    )
    return (
        f"default-src 'none'; script-src 'self' 'sha256-{script}'; style-src 'self' 'sha256-{style}'; "
        "connect-src 'self'; img-src 'self' data:; frame-ancestors 'none'; base-uri 'none'; form-action 'self'"
    )


class StandIn:
    """Serves the page and says what a test tells it to say.

    rows: what a client is told first. details: by device. points: of every series, else made up. past: the history's
    events. locked: nobody has a session. away: nothing but errors. asked: what clients have sent, in order.
    """

    def __init__(self, rows: list[Row], broker: str = "broker.home:8883") -> None:
        self.rows = rows
        self.broker = broker
        self.connected = True
        self.details: dict[str, Row] = {}
        self.points: list[list[float]] = []
        self.past: list[Any] = []
        self.locked = self.away = False
        self.asked: queue.Queue[Any] = queue.Queue()
        self.requests: list[str] = []
        self._clients: set[WebSocket] = set()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}/"

    def __enter__(self) -> "StandIn":
        routes = [
            Route("/", self._page),
            Route("/login", self._login, methods=["POST"]),
            Route("/logout", self._logout, methods=["POST"]),
            Route("/static/{name}", self._static),
            Route("/api/devices", self._devices),
            Route("/api/series", self._series),
            Route("/api/events", self._events),
            WebSocketRoute("/ws", self._feed),
        ]
        headers = [("content-security-policy", _policy()), ("x-content-type-options", "nosniff")]
        headers += [("cache-control", "no-store"), ("referrer-policy", "no-referrer")]
        config = uvicorn.Config(
            Starlette(routes=routes), log_config=None, lifespan="off", headers=headers, ws="websockets-sansio"
        )
        self._server = uvicorn.Server(config)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()
        return self

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(self._server.serve([self._socket]))

    def __exit__(self, *_: object) -> None:
        self.drop()
        self._server.force_exit = self._server.should_exit = True
        self._thread.join(5)
        self._loop.close()

    def say(self, message: Any) -> None:
        """Tell all clients something."""
        text = message if isinstance(message, str) else json.dumps(message)

        async def send() -> None:
            for client in list(self._clients):
                with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                    await client.send_text(text)

        asyncio.run_coroutine_threadsafe(send(), self._loop).result(10)

    def change(self, *rows: Row) -> None:
        """Tell all clients changed rows."""
        self.say({"type": "devices", "rows": rows, "now": time.time()})

    def drop(self) -> None:
        """Close all clients."""

        async def close() -> None:
            for client in list(self._clients):
                with contextlib.suppress(RuntimeError, WebSocketDisconnect):
                    await client.close()

        asyncio.run_coroutine_threadsafe(close(), self._loop).result(10)

    def _refusal(self, request: Request) -> Response | None:
        self.requests.append(f"{request.method} {request.url.path}?{request.url.query}")
        if self.away:
            return Response(status_code=503)
        return Response(status_code=401) if self.locked else None

    async def _page(self, request: Request) -> Response:
        if self.locked:
            return HTMLResponse((STATIC / "login.html").read_text(), 401)
        return self._refusal(request) or FileResponse(STATIC / "index.html")

    async def _login(self, request: Request) -> Response:
        form = dict(part.split("=", 1) for part in (await request.body()).decode().split("&"))
        self.asked.put(form)
        self.locked = form.get("token") != TOKEN
        return Response(status_code=401 if self.locked else 303, headers={"location": "/"})

    async def _logout(self, request: Request) -> Response:
        self.locked = True
        return Response(status_code=303, headers={"location": "/"})

    async def _static(self, request: Request) -> Response:
        path = STATIC / request.path_params["name"]
        return self._refusal(request) or (FileResponse(path) if path.is_file() else Response(status_code=404))

    async def _devices(self, request: Request) -> Response:
        return self._refusal(request) or Response(media_type="application/json")

    async def _series(self, request: Request) -> Response:
        return self._refusal(request) or JSONResponse(
            {"points": self.points or wave(float(request.query_params["hours"]))}
        )

    async def _events(self, request: Request) -> Response:
        return self._refusal(request) or Response(json.dumps(self.past), media_type="application/json")

    async def _feed(self, socket: WebSocket) -> None:
        if self.locked or self.away:
            await socket.close()
            return
        await socket.accept()
        hello = {"type": "hello", "broker": self.broker, "connected": self.connected, "now": time.time(), "totals": {}}
        await socket.send_text(json.dumps(hello))
        await socket.send_text(json.dumps({"type": "devices", "rows": self.rows, "all": True}))
        self._clients.add(socket)
        with contextlib.suppress(WebSocketDisconnect):
            while True:
                asked = json.loads(await socket.receive_text())
                self.asked.put(asked)
                if asked["device"] in self.details:
                    await socket.send_text(json.dumps({"type": "device", "device": self.details[asked["device"]]}))
        self._clients.discard(socket)


def changing(stand_in: StandIn, rate: float, seconds: float, dice: random.Random) -> None:
    """Change so many readings a second, in two messages a second as the server does, for some time."""
    now = {row["id"]: row for row in stand_in.rows}
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        began = time.monotonic()
        changed = []
        for row in dice.sample(list(now.values()), min(len(now), round(rate / 2))):
            readings = []
            for one in row["readings"]:
                value = round(one["value"] + dice.uniform(-1, 1), 2)
                one |= {"value": value, "spark": [*one["spark"][1:], value], "time": time.time()}
                readings.append({k: v for k, v in one.items() if k != "spark"} | {"new": [value]})
            row["seen"] = time.time()
            changed.append(row | {"readings": readings})
        stand_in.change(*changed)
        time.sleep(max(0, 0.5 - (time.monotonic() - began)))


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--devices", type=int, default=20)
    parser.add_argument("--rate", type=float, default=20)
    given = parser.parse_args()
    with StandIn(fleet(given.devices)) as stand_in:
        stand_in.details = {row["id"]: detailed(row) for row in stand_in.rows}
        print(stand_in.url, flush=True)
        changing(stand_in, given.rate, 3600, random.Random(2))


if __name__ == "__main__":
    main()
