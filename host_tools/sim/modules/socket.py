"""Simulated: names resolve as the script says, and not while its WiFi is down; open sockets are the host's own."""
# ruff: noqa: F403

import _sim
import usocket as _builtin
from usocket import *


def getaddrinfo(host, *args):
    if "wifi" in _sim.script():
        import network

        if not network._online():
            raise OSError(_sim.board["wlan"]["dns_errno"])
    answer = _sim.script().get("dns", {}).get(host, host)
    if answer == "fail":
        raise OSError(_sim.board["wlan"]["dns_errno"])
    found = []
    for address in [answer] if isinstance(answer, str) else answer:
        found += _builtin.getaddrinfo(address, *args)
    return found
