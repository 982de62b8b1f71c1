"""Simulated: names do not resolve while WiFi is down (where the script has WiFi); open sockets are the host's own."""
# ruff: noqa: F403

import _sim
import usocket as _builtin
from usocket import *


def getaddrinfo(*args):
    if "wifi" in _sim.script():
        import network

        if not network._online():
            raise OSError(_sim.board["wlan"]["dns_errno"])
    return _builtin.getaddrinfo(*args)
