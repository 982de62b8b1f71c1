"""A stand-in for the dashboard's server, to look at its page and to test it alone: plain HTTP, made-up devices.

python -m tests.browser.page_stand_in --devices 1000 --rate 1000
"""

import argparse
import asyncio
import base64
import contextlib
import hashlib
import json
import math
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

STATIC = Path(dashboard.__file__).parent / "static"
TOKEN = "right"
_Row = dict[str, Any]


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

    def __init__(self, rows: list[_Row], broker: str = "broker.home:8883") -> None:
        self.rows = rows
        self.broker = broker
        self.connected = True
        self.details: dict[str, _Row] = {}
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

    def change(self, *rows: _Row) -> None:
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


def wave(hours: float, n: int = 300) -> list[list[float]]:
    """Points of a day's temperatures, with a gap."""
    end, step = time.time(), hours * 3600 / n
    rows = []
    for i in range(n):
        t = end - (n - i) * step
        mean = 21 + 4 * math.sin(t / 86400 * 2 * math.pi) + 0.6 * math.sin(t / 700) + 0.2 * math.sin(i * 1.7)
        if not 0.55 < i / n < 0.62:
            rows.append([t, mean - 0.3 - 0.2 * abs(math.sin(i)), mean, mean + 0.3 + 0.3 * abs(math.cos(i))])
    return rows


def device(name: str = "pico-1", **changes: Any) -> _Row:
    """A device that is well."""
    now = time.time()
    row = {
        "id": name, "status": "online", "since": now - 7200, "seen": now - 3, "more": 0, "rate": 12,
        "readings": [reading()], "lost": 0, "outbox": {"depth": 0, "dropped": 0}, "reconnects": {}, "rssi": -58,
        "cert_days": 301, "tls": ["TLSv1.2", "TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256"], "version": "0.9.0",
        "broker": "broker.home:8883", "handshake_ms": 1480, "trouble": None, "errors": [],
    }  # fmt: skip
    return row | changes


def reading(
    sensor: str = "porch", quantity: str = "temperature", value: Any = 21.5, unit: str = "Cel", **more: Any
) -> _Row:
    """A reading with a few values behind it."""
    spark = [21 + math.sin(i / 3) for i in range(24)]
    return {
        "sensor": sensor,
        "quantity": quantity,
        "value": value,
        "unit": unit,
        "time": time.time() - 3,
        "spark": spark,
    } | more


def trouble(code: str, fact: str, what: str, fix: str, when: float | None = None) -> _Row:
    """A failure, expanded."""
    return {"code": code, "fact": fact, "what": what, "fix": fix, "when": when}


_TROUBLE = trouble(
    "CERT_EXPIRED", "broker.home: ended 2026-11-20", "a certificate of the server has expired", "renew it on the server"
)
_PLACES = ("greenhouse", "cellar", "attic", "kitchen", "well", "stable", "porch", "boiler", "garage", "orchard")
_KINDS = (("temperature", "Cel"), ("humidity", "%RH"), ("pressure", "hPa"), ("battery", "%EL"), ("illuminance", "lx"))


def fleet(n: int, seed: int = 1) -> list[_Row]:
    """Made-up devices, of which some have problems."""
    dice = random.Random(seed)
    now = time.time()
    rows = []
    for i in range(n):
        readings = []
        for j in range(dice.randint(1, 6)):
            quantity, unit = _KINDS[j % 5]
            base = dice.uniform(10, 60)
            spark = [round(base + math.sin(k / dice.uniform(1.5, 4)) + dice.random(), 2) for k in range(24)]
            readings.append(reading(dice.choice(_PLACES), quantity, spark[-1], unit, spark=spark))
        row = device(f"{dice.choice(_PLACES)}-{i + 1}", readings=readings[:4], more=max(0, len(readings) - 4))
        row |= {
            "rssi": dice.randint(-79, -41),
            "cert_days": dice.randint(31, 364),
            "since": now - dice.uniform(60, 9e5),
        }
        row |= {"seen": now - dice.uniform(0, 60), "version": dice.choice(["0.9.0", "0.9.1"])}
        match dice.randrange(40):
            case 0:
                row |= {"status": "offline", "seen": now - dice.uniform(600, 9e5)}
            case 1:
                row |= {"trouble": _TROUBLE, "errors": [_TROUBLE], "outbox": {"depth": 412, "dropped": 17}}
            case 2:
                row |= {"cert_days": dice.randint(-3, 20)}
            case 3:
                row |= {"rssi": -86}
            case 4:
                row |= {
                    "status": "unknown",
                    "rssi": None,
                    "cert_days": None,
                    "outbox": None,
                    "readings": [],
                    "version": None,
                }
        rows.append(row)
    return rows


def detailed(row: _Row) -> _Row:
    """A device's detail, with more of everything."""
    now = time.time()
    facts = {
        "status": "online", "device": row["id"], "version": "0.9.0", "reset": "power", "boots": 41, "crashes": 1,
        "uptime_s": 7204, "heap_free": 81232, "largest_block": 60112, "ble.heard": 912, "tree": "a", "trial": False,
        "last_error.code": "TLS_CLOSED", "last_error.fact": "broker.home closed it", "rolled_back": None,
    }  # fmt: skip
    readings = [one | {"spark": [20 + math.sin(i / 9) * 3 for i in range(120)]} for one in row["readings"]]
    readings += [reading("door", "state", "open", ""), reading("flow", "volume", 1234567.8, "m3", spark=[])]
    no_ap = ("WIFI_NO_AP", "'home': no_ap", "no configured WiFi network is in reach", "check the SSID", now - 4000)
    happened = [
        ("trouble", "CERT_EXPIRED: broker.home"),
        ("reconnect", "2 MQTT_CLOSED"),
        ("online", ""),
        ("offline", ""),
    ]
    return row | {
        "readings": readings,
        "more": 0,
        "facts": facts,
        "reconnects": {"MQTT_CLOSED": 3, "WIFI_NO_AP": 1},
        "trouble": _TROUBLE,
        "errors": [_TROUBLE, trouble(*no_ap)],
        "events": [{"time": now - 60 * i, "kind": kind, "text": text} for i, (kind, text) in enumerate(happened)],
        "bluetooth": [
            {"sensor": "ruuvi-1", "address": "c8:25:2d:8e:9c:2c", "rssi": -71, "time": now - 8},
            {"sensor": "atc", "address": "a4:c1:38:aa:bb:cc", "rssi": -88, "time": now - 80},
        ],
    }


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
