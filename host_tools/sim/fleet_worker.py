"""One process of a simulated fleet: reads its job and "stop" as lines of standard input, writes JSON lines.

The job: {"devices": [[name, PEM file, seconds until it is switched on, its first broker], …], "ca": PEM file,
"settings": a checked configuration, "every_s": seconds, "boot": number, "drain_s": seconds}. The end of the input
without "stop" (whoever started it is gone) ends it at once.
"""

import asyncio
import json
import sys
import threading
from pathlib import Path
from typing import Any

from host_tools.limits import raise_files
from host_tools.sim import light_device, ticks

_TELL_S = 0.25


def _say(kind: str, **facts: Any) -> None:
    sys.stdout.write(json.dumps({"kind": kind, **facts}) + "\n")
    sys.stdout.flush()


def _listen(loop: asyncio.AbstractEventLoop, stop: asyncio.Event, gone: asyncio.Event) -> None:
    told = sys.stdin.readline() == "stop\n"
    loop.call_soon_threadsafe(stop.set)
    if not told or sys.stdin.readline() == "":
        loop.call_soon_threadsafe(gone.set)


async def _tell(counts: light_device.Counts, devices: list[light_device.Device]) -> None:
    while True:
        _say("now", **_snapshot(counts, devices))
        await asyncio.sleep(_TELL_S)


def _snapshot(counts: light_device.Counts, devices: list[light_device.Device]) -> dict[str, Any]:
    waiting, dropped = sum(d.waiting for d in devices), sum(d.dropped for d in devices)
    return {**counts.snapshot(), "waiting": waiting, "dropped": dropped}


async def _run(job: dict[str, Any]) -> None:
    counts = light_device.Counts()
    ca = Path(job["ca"])
    before = light_device.memory()
    devices = [
        light_device.Device(
            name,
            light_device.context(ca, Path(identity)),
            job["settings"],
            counts,
            every_s=job["every_s"],
            boot=job["boot"],
            after_s=after_s,
            first=first,
        )
        for name, identity, after_s, first in job["devices"]
    ]
    _say("ready")
    stop, gone = asyncio.Event(), asyncio.Event()
    threading.Thread(target=_listen, args=(asyncio.get_running_loop(), stop, gone), daemon=True).start()
    telling = asyncio.create_task(_tell(counts, devices))
    working = [asyncio.create_task(device.run()) for device in devices]
    done: asyncio.Future[Any] = asyncio.gather(*working)
    ending: asyncio.Future[Any] = asyncio.create_task(stop.wait())
    # A device that ends before it was told to has met what it does not expect: that must not pass unseen.
    await asyncio.wait([done, ending], return_when=asyncio.FIRST_COMPLETED)
    per_device = (light_device.memory() - before) / max(1, len(devices))
    for device in devices:
        device.end()
    leaving: asyncio.Future[Any] = asyncio.create_task(gone.wait())
    await asyncio.wait([done, leaving], timeout=job["drain_s"], return_when=asyncio.FIRST_COMPLETED)
    telling.cancel()
    failure = done.exception() if done.done() and not done.cancelled() else None
    for task in working:
        task.cancel()
    await asyncio.gather(*working, return_exceptions=True)
    if failure:
        raise failure
    acked = {device.name: device.acked for device in devices}
    _say("end", **_snapshot(counts, devices), **counts.details(), acked=acked, per_device=per_device)


def main() -> None:
    """Run the job of the first line of standard input."""
    job = json.loads(sys.stdin.readline())
    raise_files()
    ticks.install()
    asyncio.run(_run(job))


if __name__ == "__main__":
    main()
