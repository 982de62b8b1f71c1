"""The `rootlet` that the pages' blocks run: the command itself, in surroundings that are all on loopback.

What differs from a user's machine is in the JSON file $ROOTLET_HERE: {"boards": [ports of virtual boards that seem
to be plugged in], "names": [host names that lead to 127.0.0.1], "defaults": {command: {option: value}}}. No other
name can be resolved.
"""

import json
import os
import signal
import socket
from types import SimpleNamespace
from typing import Any

from serial.tools import list_ports

with open(os.environ["ROOTLET_HERE"], encoding="utf-8") as f:
    HERE = json.load(f)
_getaddrinfo = socket.getaddrinfo
_LOCAL = ("localhost", "127.0.0.1", "::1", "0.0.0.0", "", None)


def getaddrinfo(host: Any, port: Any, *more: Any, **named: Any) -> Any:
    name = host.decode() if isinstance(host, bytes) else host
    if name in HERE["names"]:
        name = "127.0.0.1"
    if name not in _LOCAL and not str(name).startswith("127."):
        raise socket.gaierror(socket.EAI_NONAME, f"no network beyond loopback in this test: {name}")
    return _getaddrinfo(name, port, *more, **named)


def boards() -> list[SimpleNamespace]:
    return [
        SimpleNamespace(device=port, vid=0x2E8A, pid=0x0005, serial_number=f"E66141040{n}", description="", hwid="")
        for n, port in enumerate(HERE["boards"])
    ]


if __name__ == "__main__":
    socket.getaddrinfo = getaddrinfo
    list_ports.comports = boards
    signal.signal(signal.SIGINT, signal.default_int_handler)
    from host_tools.__main__ import main
    from host_tools.commands.app import app

    app.info.context_settings = {"default_map": HERE["defaults"]}
    main()
