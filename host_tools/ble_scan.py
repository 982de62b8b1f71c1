"""A BLE scan by a board: asks for it, and reads the answer. What strangers send is in it: all is bounded."""

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from host_tools import deploy
from host_tools.certinfo import printable
from host_tools.failure import Exit, Failure
from host_tools.find_board import Found

MOST = 64  # addresses
_PAYLOADS = 12  # of one address
_LONGEST = 512 * 1024  # of what a board may say
_SPARE_S = 30.0  # to stop the board's program, send the script and restart
_EXPLORE_S = 90.0
_SCRIPT = Path(__file__).parent / "on_board" / "scanning.py"
_CONNECTABLE = (0, 1)  # ADV_IND, ADV_DIRECT_IND
_BASE = "-0000-1000-8000-00805f9b34fb"

ADDRESS = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")
Value = tuple[str, Any, str | None]


@dataclass
class Heard:
    """One address. `kind`: "public", "static", "resolvable", "private" (random, not resolvable), "random", "system"
    (an identifier that the operating system made up). `rssi`: dBm, the last. `payloads`: AD structures, in order."""

    address: str
    kind: str
    rssi: int
    count: int = 0
    connectable: bool = False
    payloads: list[bytes] = field(default_factory=list)

    @property
    def raw_address(self) -> bytes:
        """6 bytes, most significant first; zeros where the address is not known."""
        return bytes.fromhex(self.address.replace(":", "")) if ADDRESS.fullmatch(self.address) else bytes(6)


@dataclass
class Scan:
    """A scan. `lost`: advertisements that found no room; `over`: those of addresses beyond MOST."""

    heard: list[Heard] = field(default_factory=list)
    lost: int = 0
    over: int = 0


@dataclass
class Device:
    """What a sender was recognised as. `format`: None if unknown. `key`: "", "needed", "wrong" or "right"; `note`: why.

    `sensor`: a name for it. `values`: (quantity, value, unit). `services`: of format gatt. `raw`: (source, data).
    `local_name`: as heard, or None; `name_usable`: whether a sensor may be known by it.
    """

    heard: Heard
    local_name: str | None
    name_usable: bool
    format: str | None = None
    key: str = ""
    note: str = ""
    sensor: str = ""
    values: list[Value] = field(default_factory=list)
    services: list[str] = field(default_factory=list)
    raw: list[tuple[str, bytes]] = field(default_factory=list)


@dataclass
class Characteristic:
    """`uuid`: short hexadecimal form where there is one. `value`: None if not read; `status`: ATT's, if refused."""

    service: str
    uuid: str
    properties: int
    value: bytes | None = None
    size: int = 0
    status: int = 0


# On the board


def scan(found: Found, seconds: float, active: bool) -> Scan:
    """Let a board hear. Its program is stopped for it, and restarted. Raises Failure."""
    return read_scan(_run(found.port, f"scan({seconds!r}, {bool(active)!r})", seconds + _SPARE_S))


def explore(found: Found, address: str, seconds: float) -> list[Characteristic]:
    """Let a board connect to a peripheral, list what it has, and read it. Raises Failure."""
    raw = address_of(address).replace(":", "")
    said = _run(found.port, f"explore({raw!r}, {seconds!r})", seconds + _EXPLORE_S + _SPARE_S)
    return read_characteristics(said, address)


def _run(port: str, call: str, timeout_s: float) -> list[list[str]]:
    script = f"{_SCRIPT.read_text()}\n{call}\n"
    try:
        said = deploy._mpremote(port, "exec", script, "+", "reset", timeout_s=timeout_s)
    except BaseException as error:  # a person may break it off: the board's program must go on all the same
        if not (isinstance(error, Failure) and ("busy" in error.what or "no board" in error.what)):
            from host_tools.ask_board import _restart

            _restart(port)
        raise
    rows = [line.split(" ")[1:] for line in said[:_LONGEST].splitlines() if line.startswith("rootlet-ble ")]
    for row in rows:
        if row[:2] == ["fault", "radio"]:
            raise Failure(f"the board on {port} has no Bluetooth that works", printable(" ".join(row[2:]))[:100],
                          "firmware for a board with Bluetooth: rootlet boards --known")  # fmt: skip
    if not any(row[:1] in (["end"], ["fault"]) for row in rows):
        raise Failure(f"the scan of {port} cannot be used", "its end is missing", "the same command again")
    return rows


def address_of(text: str) -> str:
    """An address as this module writes it. Raises Failure."""
    low = text.strip().lower().replace("-", ":")
    if not ADDRESS.fullmatch(low):
        raise Failure(f"{printable(text)[:60]} is no Bluetooth address", "it is six pairs of hexadecimal digits",
                      "such as a4:c1:38:12:34:56, as `rootlet ble scan` shows it", Exit.USAGE)  # fmt: skip
    return low


def kind_of(kind: int, address: bytes) -> str:
    """What an address is (Bluetooth Core Specification, volume 6, part B, section 1.3). kind: 0 public, else random."""
    if not kind:
        return "public"
    return {3: "static", 1: "resolvable", 0: "private"}.get(address[0] >> 6, "random")


def read_scan(rows: list[list[str]]) -> Scan:
    """What the board told; lines that are not as they should be are passed over."""
    found: dict[tuple[int, str], Heard] = {}
    told = Scan()
    for row in rows:
        try:
            if row[0] == "heard" and len(row) == 7:
                kind, raw, form, rssi, size = int(row[1]), bytes.fromhex(row[2]), int(row[3]), int(row[4]), int(row[5])
                payload = b"" if row[6] == "-" else bytes.fromhex(row[6])
                if len(raw) != 6 or (len(found) >= MOST and (kind, row[2]) not in found):
                    continue
                one = found.setdefault((kind, row[2]), Heard(raw.hex(":"), kind_of(kind, raw), rssi))
                one.rssi = rssi
                one.count = max(one.count, len(one.payloads) + 1)
                one.connectable = one.connectable or form in _CONNECTABLE
                if len(one.payloads) < _PAYLOADS and size >= len(payload):
                    one.payloads.append(payload)
            elif row[0] == "count" and len(row) == 5 and (int(row[1]), row[2]) in found:
                one = found[int(row[1]), row[2]]
                one.count, one.rssi = int(row[3]), int(row[4])
            elif row[0] == "end" and len(row) == 3:
                told.lost, told.over = int(row[1]), int(row[2])
        except (ValueError, IndexError):
            continue
    told.heard = list(found.values())
    return told


def read_characteristics(rows: list[list[str]], address: str) -> list[Characteristic]:
    """What the board found at a peripheral. Raises Failure."""
    out: list[Characteristic] = []
    by_handle: dict[int, Characteristic] = {}
    service = ""
    for row in rows:
        try:
            if row[0] == "fault":
                raise _fault(row, address)
            if row[0] == "service":
                service = uuid_of(row[1])
            elif row[0] == "characteristic" and len(out) < MOST:
                out.append(Characteristic(service, uuid_of(row[1]), int(row[3])))
                by_handle[int(row[2])] = out[-1]
            elif row[0] == "value" and int(row[1]) in by_handle:
                one = by_handle[int(row[1])]
                one.value, one.size = b"" if row[3] == "-" else bytes.fromhex(row[3]), int(row[2])
            elif row[0] == "unread" and int(row[1]) in by_handle:
                by_handle[int(row[1])].status = int(row[2])
        except (ValueError, IndexError):
            continue
    return out


def _fault(row: list[str], address: str) -> Failure:
    what = row[1] if len(row) > 1 else ""
    if what == "absent":
        return Failure(f"{address} was not heard", "it does not advertise now, or its address has changed",
                       "rootlet ble scan --all   (and wake the sensor up)")  # fmt: skip
    if what == "connect":
        return Failure(f"no connection to {address}", "it was heard, but did not answer",
                       "end other connections to it (a phone), go nearer and repeat")  # fmt: skip
    because = printable(" ".join(row[2:]))[:100] or "it ended"
    return Failure(f"{address} could not be explored", because, "go nearer and repeat")


def uuid_of(text: str) -> str:
    """A UUID as the configuration writes it: 4 hexadecimal digits, or the long form with dashes. Raises ValueError."""
    digits = text.replace("-", "").lower()
    bytes.fromhex(digits)
    if len(digits) == 4:
        return digits
    if len(digits) == 8:
        long = digits + _BASE
    elif len(digits) == 32:
        long = "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))
    else:
        raise ValueError("no UUID")
    return long[4:8] if long.startswith("0000") and long.endswith(_BASE) else long
