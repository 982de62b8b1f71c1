"""HTTPS GET: Rootlet, MicroPython's own `requests` and the TLS socket alone, from one server, in interleaved rounds."""

import os
import tempfile
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from host_tools.bench import parts
from host_tools.bench.place import ON_BOARD, Place
from host_tools.bench.rows import Row
from host_tools.servers import HttpsServer

SPEED_LIMIT = 0.8  # of the TLS socket alone, at least, for 1 MB
HEAP_LIMIT = 12 * 1024  # bytes above the TLS socket alone, at most, garbage included
SIZES = (1 << 10, 10 << 10, 100 << 10, 1 << 20)  # bytes of body
LARGEST = SIZES[-1]
WHOLE = 10 << 10  # bytes of body that are also read in one piece
ROUNDS = 15
_CHUNK = 4096  # bytes a chunk of the chunked coding
_SMALL = 16 << 10  # bytes of body; below, the time to connect says more than the speed
RAW = "TLS socket alone"
_NAMES = {
    "raw": RAW,
    "again": f"{RAW}, second page of a connection",
    "readinto": "rootlet, readinto",
    "pieces": "rootlet, iterated",
    "read_n": "rootlet, read(1024)",
    "whole": "rootlet, read()",
    "requests_whole": "requests, not verified, .content",
    "requests_raw": "requests, not verified, .raw.readinto",
}


def plan(quick: bool) -> list[dict[str, Any]]:
    """What is fetched in each round: way, bytes, framing ("counted": Content-Length; "chunked")."""
    found = []
    for size in (SIZES[0], LARGEST) if quick else SIZES:
        ways = ["raw", "readinto", "pieces"]
        if size == SIZES[0]:
            ways.append("again")
        if not quick:
            ways += ["read_n", "requests_raw"]
        if size <= WHOLE:
            ways += ["whole", "requests_whole"]
        found += [{"way": way, "bytes": size, "framing": "counted"} for way in ways]
    # `requests` asks by HTTP/1.0 and takes no chunks.
    found += [{"way": way, "bytes": LARGEST, "framing": "chunked"} for way in ("raw", "readinto", "pieces")]
    return found


def size_name(size: int) -> str:
    """As people say it: 10 KB, 1 MB."""
    return f"{size >> 20} MB" if size >= 1 << 20 else f"{size >> 10} KB"


def fetch(place: Place, rows: list[dict[str, Any]], rounds: int) -> list[dict[str, Any]]:
    """Run the script: each row comes back with whole_us, body_us, cpu_us (one a round), heap and live (bytes)."""
    routes = {f"/{size}": os.urandom(size) for size in {row["bytes"] for row in rows}}
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        made = parts.parties(place, Path(name))
        ports = {}
        for framing, chunk in (("counted", 0), ("chunked", _CHUNK)):
            server = HttpsServer(
                made.server.cert_pem, made.server.key_pem, routes, place=(place.bind, 0), chunk=chunk
            )  # fmt: skip
            ports[framing] = stack.enter_context(server).port
        job = parts.job(place, ports["counted"], ports=ports, rounds=rounds, rows=rows)
        return place.run(ON_BOARD / "fetch.py", job, made.files, timeout_s=600)


def _label(result: dict[str, Any]) -> str:
    coding = ", chunked" if result["framing"] == "chunked" else ""
    return f"{size_name(result['bytes'])}{coding}: "


def _times(result: dict[str, Any]) -> list[Row]:
    label, way, size = _label(result), result["way"], result["bytes"]
    name = label + _NAMES[way]
    to = None if way == "raw" else label + RAW
    whole = tuple(us / 1000 for us in result["whole_us"])
    rows = [Row("fetch, with the connection", name, "ms", whole, to, "less", headline=way == "pieces")]
    if size > _SMALL:
        ours = way in ("readinto", "pieces") and size == LARGEST and result["framing"] == "counted"
        speed = tuple(size / 1.024 / max(1, us) * 1000 for us in result["body_us"])
        rows.append(
            Row("fetch, the body", name, "KB/s", speed, to, promised=SPEED_LIMIT if ours else None, headline=ours)
        )  # fmt: skip
        if all(result["cpu_us"]):
            spent = tuple(us / 1000 for us in result["cpu_us"])
            rows.append(Row("fetch, processor time for the body", name, "ms", spent, to, "less", allowance=0.5))
    return rows


def _heap(results: list[dict[str, Any]]) -> list[Row]:
    """What each way takes of the heap above the TLS socket alone, with the garbage it leaves and without."""
    group = "fetch, heap above the TLS socket"
    rows = [Row(group, "allowed", "B", (HEAP_LIMIT,), better="less")]
    raw = {_label(result): result for result in results if result["way"] == "raw"}
    for result in results:
        label, way = _label(result), result["way"]
        if way in ("raw", "again") or "failed" in result:
            continue
        ours = way in ("readinto", "pieces") and result["framing"] == "counted"
        above = {kind: result[kind] - raw[label][kind] for kind in ("heap", "live")}
        rows.append(
            Row(group, label + _NAMES[way], "B", (above["heap"],), "allowed" if ours else None, "less",
                f"{above['live']} B where it is collected at each read", promised=1.0 if ours else None,
                headline=ours and result["bytes"] == LARGEST)
        )  # fmt: skip
    return rows


def measure(place: Place, quick: bool) -> list[Row]:
    """Speed with and without the connection's own time, and heap.

    Heap is what gc.mem_alloc() shows at each read above what it showed before the page, collected before it and not
    while it is read, so all that is thrown away counts.
    """
    rounds = 3 if quick or not place.virtual else ROUNDS
    results = fetch(place, plan(quick), rounds)
    rows = [row for result in results if result["whole_us"] for row in _times(result)]
    return rows + _heap(results)
