"""How late `rootlet dashboard` shows a reading: from when it is published until the message of the page's WebSocket.

One process for all but the broker, so one clock. Devices and viewer are in one event loop, the page in another thread.
"""

import asyncio
import http.client
import importlib.util
import itertools
import json
import logging
import ssl
import tempfile
import time
import urllib.parse
from pathlib import Path
from typing import TYPE_CHECKING

from host_tools.bench import parts
from host_tools.bench.place import Place
from host_tools.failure import Failure

if TYPE_CHECKING:
    from host_tools.dashboard.serve import Dashboard
    from host_tools.sim.light_device import Link

DEVICES = 20  # one reading a second each, spread over the second
_NEEDS = ("paho", "starlette", "uvicorn", "websockets")
_WARM_S = 1.0  # the page's first message holds what was there before it
_MOST_S = 10.0  # for the connections, and for the last reading


def absent() -> list[str]:
    """What the page needs and is not installed."""
    return [name for name in _NEEDS if not importlib.util.find_spec(name)]


async def _connected(port: int, tls: ssl.SSLContext, name: str) -> "Link":
    from host_tools.sim.light_device import Link
    from rootlet.packets import connect_packet

    link = await Link.open("localhost", port, tls)
    await link.send(connect_packet(name, None, None, 60, None, True))
    async with asyncio.timeout(_MOST_S):
        while link.packet() is None:
            await link.wait(asyncio.get_running_loop().time() + _MOST_S)
    return link


async def _publish(link: "Link", name: str, begin: float, end: float) -> int:
    """A reading a second, whose value is when it was said (Unix seconds). Returns how many."""
    from rootlet.packets import publish_packet

    count = 0
    while begin + count < end:
        await asyncio.sleep(max(0.0, begin + count - time.time()))
        row = {"device": name, "sensor": "s", "quantity": "said", "unit": "s", "seq": count, "boot": 1}
        row |= {"time": time.time(), "value": round(time.time(), 4)}
        topic = f"rootlet/{name}/s".encode()
        await link.send(publish_packet(topic, json.dumps(row).encode(), False, 1, count + 1))
        count += 1
    return count


def _session(page: "Dashboard", tls: ssl.SSLContext) -> str:
    """The cookie that the page gives for its token."""
    connection = http.client.HTTPSConnection("localhost", page.site.port, context=tls, timeout=_MOST_S)
    headers = {"Origin": page.url.rstrip("/"), "Content-Type": "application/x-www-form-urlencoded"}
    try:
        connection.request("POST", "/login", urllib.parse.urlencode({"token": page.token}), headers)
        return connection.getresponse().headers["Set-Cookie"].partition(";")[0]
    finally:
        connection.close()


async def _lags(page: "Dashboard", tls: ssl.SSLContext, links: dict[str, "Link"], seconds: float) -> list[list[float]]:
    """[when a reading was said after the begin, how late it was shown], in s, of all that were said."""
    from websockets.asyncio.client import connect

    origin, cookie = page.url.rstrip("/"), await asyncio.to_thread(_session, page, tls)
    found: list[list[float]] = []
    async with connect(
        f"wss://localhost:{page.site.port}/ws", ssl=tls, origin=origin, additional_headers={"Cookie": cookie},  # type: ignore[arg-type]
        max_size=1 << 24, proxy=None, close_timeout=2,
    ) as socket:  # fmt: skip
        begin = time.time()
        published = asyncio.gather(
            *(
                _publish(link, name, begin + n / DEVICES, begin + seconds)
                for n, (name, link) in enumerate(links.items())
            )
        )
        try:
            async with asyncio.timeout(seconds + _MOST_S):
                while not published.done() or len(found) < sum(published.result()):
                    message, now = json.loads(await socket.recv()), time.time()
                    rows = message["rows"] if message["type"] == "devices" else []
                    shown = [value for row in rows for reading in row["readings"] for value in reading.get("new", ())]
                    found += [[value - begin, now - value] for value in shown]
        except TimeoutError:
            raise Failure(
                "the page does not show all readings", f"{len(found)} came", "rootlet bench --debug"
            ) from None
        finally:
            published.cancel()
    return found


def lags(place: Place, rounds: int, seconds: float) -> list[list[float]]:
    """How late each reading was shown, in ms, round by round. Raises Failure."""
    from host_tools import fleet_certs
    from host_tools.broker import Broker
    from host_tools.dashboard.serve import Dashboard, Settings
    from host_tools.sim.light_device import context
    from host_tools.watch import Place as Watched

    async def all_of_it(port: int, page: Dashboard, tls: ssl.SSLContext) -> list[list[float]]:
        links: dict[str, Link] = {}
        try:
            for name, identity in identities.items():
                links[name] = await _connected(port, context(authority.cert_pem, identity), name)
            return await _lags(page, tls, links, _WARM_S + rounds * seconds)
        finally:
            for link in links.values():
                link.close()

    logging.getLogger("rootlet.dashboard").addHandler(logging.NullHandler())  # the table is all that is said
    with tempfile.TemporaryDirectory(prefix="rootlet-bench-") as name:
        folder = Path(name)
        made = parts.parties(place, folder)
        authority, server, me = made.authority, made.server, made.authority.issue_device("observer")
        identities = fleet_certs.issue(authority, fleet_certs.names(DEVICES, "dev"), folder / "fleet")
        with Broker(server.cert_pem, server.key_pem, authority.cert_pem, workdir=folder) as broker:
            watched = Watched("localhost", broker.port, authority.cert_pem, me.cert_pem, me.key_pem)
            settings = Settings(watched, server.cert_pem, server.key_pem, authority.cert_pem, ("localhost",))
            with Dashboard(settings) as page:
                tls = ssl.create_default_context(cafile=str(authority.cert_pem))
                found = asyncio.run(all_of_it(broker.port, page, tls))
    ends = [_WARM_S + n * seconds for n in range(rounds + 1)]
    return [[late * 1000 for said, late in found if begin <= said < end] for begin, end in itertools.pairwise(ends)]
