"""Joins the first WiFi network that will have us, and says why where none will."""

import asyncio

import network

from . import health
from .deadline import Deadline
from .errors import RootletError

_REASONS = {"wrong_password": "WIFI_WRONG_PASSWORD", "no_ap": "WIFI_NO_AP", "no_ip": "WIFI_NO_DHCP"}
_POLL_MS = 2
# One answer may be a passing state (esp32 reports "no AP" while it still scans), the same for 150 ms is not.
_CERTAIN = 75


def start(settings, board):
    """Switch the radio on.

    Args: settings: the "wifi" section of the configuration. board: the board file.
    Returns the WLAN interface.
    """
    network.country(settings["country"])
    if settings["hostname"]:
        network.hostname(settings["hostname"])
    wlan = network.WLAN(network.STA_IF)
    wlan.active(True)
    power = board["wlan"]["pm"].get(settings["power"])
    if power is not None:
        wlan.config(pm=power)
    return wlan


def begin(settings, board):
    """Switch the radio on and begin to join the first network: it goes on by itself while the program is loaded.

    Args: see start. Returns the interface, for join(…, begun=True); None where that did not work.
    """
    try:
        wlan = start(settings, board)
        if address(wlan) is None:
            _connect(wlan, settings["networks"][0])
        return wlan
    except (OSError, RuntimeError):  # it is done again, and told then
        return None


def _connect(wlan, entry):
    wlan.connect(entry["ssid"], entry["password"] or None)


def address(wlan):
    """The IPv4 address in use as text, or None.

    The status alone is not proof: cyw43 has claimed to be up when it was not. Args: wlan: as start gives it.
    """
    ip = wlan.ifconfig()[0]
    return ip if wlan.isconnected() and ip != "0.0.0.0" else None  # noqa: S104


async def _try(wlan, entry, statuses, timeout_ms, begun):
    """Join one network: None when joined, else the name of the state it failed in."""
    if not begun:
        wlan.disconnect()
        _connect(wlan, entry)
    deadline = Deadline(timeout_ms)
    state, count, number = "", 0, None
    while deadline.left():
        if address(wlan):
            return None
        number = wlan.status()
        now = statuses.get(str(number), "failed")
        count = count + 1 if now == state else 1
        state = now
        if count >= _CERTAIN and state in ("wrong_password", "no_ap", "failed"):
            break
        await asyncio.sleep_ms(_POLL_MS)
    # A port without a number for "no address yet" still tells an access point that took us from one that did not.
    if state == "joining" and "no_ip" not in statuses.values() and _associated(wlan):
        state = "no_ip"
    wlan.disconnect()
    return "failed (status %s)" % number if state == "failed" else state


def _associated(wlan):
    try:
        wlan.status("rssi")
        return True
    except (OSError, ValueError):
        return False


async def join(wlan, settings, board, begun=False):
    """Join one of the configured networks, tried in order. Args: begun: the first one is being joined: see begin.

    Args: wlan: as start gives it. settings: the "wifi" section of the configuration. board: the board file.
    Returns (SSID, IPv4 address). Raises RootletError WIFI_*, with the most telling reason and each network's state.
    """
    states = []
    for entry in settings["networks"]:
        try:
            state = await _try(wlan, entry, board["wlan"]["status"], settings["timeout_s"] * 1000, begun)
        except (OSError, RuntimeError) as e:  # esp32 raises what its driver says
            state = "failed (%s)" % e
        begun = False
        if state is None:
            return entry["ssid"], address(wlan)
        states.append((entry["ssid"], state))
    fact = ", ".join("'%s': %s" % row for row in states)
    for name in ("wrong_password", "no_ip"):
        if name in [state for _, state in states]:
            raise RootletError(_REASONS[name], fact)
    raise RootletError(_REASONS.get(states[-1][1], "WIFI_FAILED"), fact)


def rssi(wlan):
    """The signal in dBm, or None where it cannot be told. Args: wlan: as start gives it."""
    try:
        dbm = wlan.status("rssi")
    except (OSError, ValueError, TypeError):
        return None
    return dbm if isinstance(dbm, int) and -128 <= dbm < 0 else None


def restart(wlan, settings, board):
    """Switch the radio off and on, and set it anew. Returns the interface, as start does.

    Args: wlan: as start gives it. settings, board: as for start.
    By active(), not deinit(): that one has been seen to hang on a Pico W.
    """
    try:
        wlan.active(False)
    except (OSError, RuntimeError):  # it is what fails
        pass
    return start(settings, board)


def failed(wlan, settings, board, count, error, timed=False):
    """After a failed join: restart the radio where that may help. The pause before the next try is the caller's.

    Args: settings: the "wifi" section. board: the board file. count: failures in a row, this one too. error: what
        join raised. timed: the clock is good.
    Returns whether the board is to restart now: stuck() is the last word then.
    """
    often = settings["restart_after"]
    if often and count % often == 0:
        try:
            restart(wlan, settings, board)
        except (OSError, RuntimeError):  # tried again, and at last the board restarts
            pass
    last = settings["reboot_after"]
    # It has not helped: an access point may be off for days. And a board that knows the time goes on reading its
    # sensors; after a restart it would not.
    if health.last_reset() == "wifi" or (timed and error.code == "WIFI_NO_AP"):
        last *= 8
    return 0 < last <= count and error.code != "WIFI_WRONG_PASSWORD"


def stuck(count, error):
    """Restart the board; its next status says why. What is only in RAM has to be saved before."""
    import machine

    health.restarts("wifi", "WIFI_STUCK", "%d tries in a row: %s" % (count, error.fact))
    machine.reset()
