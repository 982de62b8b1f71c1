"""Made-up devices for the page's tests: rows and details as the server sends them, and points of a series."""

import math
import random
import time
from typing import Any

Row = dict[str, Any]


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


def device(name: str = "pico-1", **changes: Any) -> Row:
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
) -> Row:
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


def trouble(code: str, fact: str, what: str, fix: str, when: float | None = None) -> Row:
    """A failure, expanded."""
    return {"code": code, "fact": fact, "what": what, "fix": fix, "when": when}


_TROUBLE = trouble(
    "CERT_EXPIRED", "broker.home: ended 2026-11-20", "a certificate of the server has expired", "renew it on the server"
)
_PLACES = ("greenhouse", "cellar", "attic", "kitchen", "well", "stable", "porch", "boiler", "garage", "orchard")
_KINDS = (("temperature", "Cel"), ("humidity", "%RH"), ("pressure", "hPa"), ("battery", "%EL"), ("illuminance", "lx"))


def fleet(n: int, seed: int = 1) -> list[Row]:
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


def detailed(row: Row) -> Row:
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
