"""Simulated: a WLAN interface that joins the networks of the script; the traffic itself is the host's."""

import time

import _sim

_C = _sim.board["wlan"]["constants"]
_PM = _sim.board["wlan"]["pm"]
_ESP = _sim.board["port"] == "esp32"
_NUMBERS = {
    "idle": _C["STAT_IDLE"],
    "joining": _C["STAT_CONNECTING"],
    "no_ip": _C["STAT_CONNECTING"] if _ESP else 2,
    "got_ip": _C["STAT_GOT_IP"],
    "wrong_password": _C["STAT_WRONG_PASSWORD"],
    "no_ap": _C["STAT_NO_AP_FOUND"],
    "failed": _C["STAT_CONNECT_FAIL"],
}
for _name in _C:  # by setattr, which interns the names: attribute look-up knows no others
    setattr(__import__("network"), _name, _C[_name])

STA_IF = 0
AP_IF = 1
_country = "XX"
_hostname = _sim.board["wlan"]["hostname"]


def country(code=None):
    global _country
    if code is None:
        return _country
    if len(code) != 2:
        raise ValueError("invalid country code")
    _country = code


def hostname(name=None):
    global _hostname
    if name is None:
        return _hostname
    if len(name) > 32:
        raise ValueError("hostname too long")
    _hostname = name


def ipconfig(*args, **kwargs):
    if args:
        return {"dns": "192.0.2.1", "prefer": 4}[args[0]]


class WLAN:
    IF_STA = STA_IF
    IF_AP = AP_IF
    SEC_OPEN = 0
    SEC_WPA_WPA2 = 4 if _ESP else 0x00400006
    PM_NONE = _PM["none"]
    PM_PERFORMANCE = _PM["performance"]
    PM_POWERSAVE = _PM["powersave"]
    _all = {}

    def __new__(cls, interface=STA_IF):
        if interface not in (STA_IF, AP_IF):
            raise ValueError("invalid WLAN interface identifier" if _ESP else "invalid argument")
        if interface not in cls._all:
            self = object.__new__(cls)
            self._sta = interface == STA_IF
            self._config = {"pm": _PM["performance"], "channel": 6, "txpower": 20}
            if _ESP:
                self._config["reconnects"] = 0
            self._active = False
            self._static = None
            self._hung = self._cleared = None  # the last "stuck", and the one that switching off and on has ended
            self._leave()
            cls._all[interface] = self
        return cls._all[interface]

    def __init__(self, interface=STA_IF):
        pass

    def _leave(self):
        self._ssid = None
        self._key = None
        self._since = 0
        self._joined = False
        self._final = None

    def active(self, on=None):
        if on is None:
            return self._active
        if not on:
            self._cleared = self._hung
            self._leave()
        self._active = bool(on)
        return self._active

    def deinit(self):
        self.active(False)

    def connect(self, ssid=None, key=None, **kwargs):
        if not self._active:
            raise OSError("Wifi Not Started") if _ESP else OSError(1)
        if ssid is None:
            if self._ssid is None:
                raise TypeError("ssid")
            ssid, key = self._ssid, self._key
        self._leave()
        self._ssid = ssid if isinstance(ssid, str) else bytes(ssid).decode()
        self._key = key if key is None or isinstance(key, str) else bytes(key).decode()
        self._since = time.ticks_ms()

    def disconnect(self):
        if _ESP and not self._active:
            raise OSError("Wifi Not Started")
        self._leave()

    def _found(self):
        networks = _sim.script().get("wifi", {}).get("networks", {})
        return None if _sim.lost(self._ssid) else networks.get(self._ssid)

    def _stuck(self):
        net = _sim.script().get("wifi", {}).get("networks", {}).get(self._ssid, {})
        now = net.get("stuck")
        if now and now != self._cleared:
            self._hung = now
            return True
        if not now:
            self._hung = self._cleared = None
        now = net.get("needs_reboot")
        if not now:
            return False
        state = _sim.state()
        if state.get("rebooted") == now:
            return False
        if state.get("hung") != now:
            state["hung"] = now  # the host makes it "rebooted" at a hard reset
            _sim.keep(state)
        return True

    def _word(self):
        if not (self._active and self._sta) or self._ssid is None:
            return "idle"
        if self._stuck():
            self._joined = False
            self._since = time.ticks_ms()
            return "joining"
        if self._final:
            return self._final
        net = self._found()
        if self._joined and net is None:
            self._joined = False
            self._since = time.ticks_ms()
            if not _ESP:
                self._final = "joining"  # the link is gone, and this port does not say more
                return self._final
        if not self._joined:
            wait = _sim.script().get("wifi", {}).get("scan_ms", 50) if net is None else net.get("join_ms", 50)
            if time.ticks_diff(time.ticks_ms(), self._since) < wait:
                return "joining"
            if net is None:
                return self._end("no_ap")
            if net.get("password") and self._key != net["password"]:
                return self._end("wrong_password")
            if net.get("refuse"):
                return self._end("failed")
            self._joined = True
        if self._static or net.get("dhcp", True):
            return "got_ip"
        return "no_ip"

    def _end(self, word):
        # rp2 stays in the failure until the next connect(); esp32 goes on trying by itself.
        if not _ESP:
            self._final = word
        return word

    def status(self, what=None):
        if what is None:
            return _NUMBERS[self._word()]
        if what == "rssi":
            if self._word() not in ("got_ip", "no_ip"):
                raise OSError(0x300F)  # esp_wifi_sta_get_ap_info: there is no access point to measure
            return self._found().get("rssi", -50)
        if what == "stations":
            return []
        raise ValueError("unknown status param")

    def isconnected(self):
        return self._word() == "got_ip"

    def ifconfig(self, new=None):
        if new is not None:
            self._static = None if new == "dhcp" else tuple(new)
            return None
        if self._word() != "got_ip":
            return ("0.0.0.0",) * 4 if _ESP or not self._static else self._static
        return self._static or (self._found().get("ip", "192.0.2.10"), "255.255.255.0", "192.0.2.1", "192.0.2.1")

    def ipconfig(self, what=None, **kwargs):
        if what is None:
            if "addr4" in kwargs:
                a = kwargs["addr4"]
                a = a if isinstance(a, (tuple, list)) else (a, "255.255.255.0")
                self._static = (a[0], a[1], "192.0.2.1", "192.0.2.1")
            return None
        now = self.ifconfig()
        return {"addr4": (now[0], now[1]), "gw4": now[2], "dhcp4": self._static is None}[what]

    def config(self, *args, **kwargs):
        if args and kwargs or len(args) > 1:
            raise TypeError("either pos or kw args are allowed")
        for name, value in kwargs.items():
            if name in ("hostname", "dhcp_hostname"):
                hostname(value)
            elif name in self._config or name in ("ssid", "essid", "key", "password", "security", "antenna", "trace"):
                self._config[name] = value
            else:
                raise ValueError("unknown config param")
        if not args:
            return None
        name = args[0]
        if name == "mac":
            return bytes((2, 0, 0, 0, 0, 1))
        if name in ("hostname", "dhcp_hostname"):
            return _hostname
        if name in ("ssid", "essid"):
            return self._ssid or ""
        if name in self._config and name not in ("key", "password"):
            return self._config[name]
        raise ValueError("unknown config param")

    def scan(self, **kwargs):
        if not self._active:
            raise OSError("STA must be active") if _ESP else OSError(1)
        rows = []
        for ssid, net in _sim.script().get("wifi", {}).get("networks", {}).items():
            if not _sim.lost(ssid):
                security = 5 if net.get("password") else 0
                rows.append((ssid.encode(), b"\x02\x00\x00\x00\x00\x02", 6, net.get("rssi", -50), security, 1))
        return rows


def _online():
    """Whether names resolve: for the stand-in of socket."""
    for wlan in WLAN._all.values():
        if wlan.isconnected():
            return True
    return False
