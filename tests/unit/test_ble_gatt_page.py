"""The page on GATT sensors: its table is that of the firmware, its worked example gives what it says."""

import re
import struct
import tomllib

from host_tools.paths import ROOT
from rootlet import decode_automation_io, decode_battery, decode_ess, decode_heart_rate, decode_mapped
from rootlet.ble_formats import GATT

PAGE = (ROOT / "docs" / "ble-gatt.md").read_text()
DECODERS = {
    "ess": decode_ess,
    "battery": decode_battery,
    "heart_rate": decode_heart_rate,
    "automation_io": decode_automation_io,
}
SAMPLES = {0x2A6D: bytes(4), 0x2A19: b"\1", 0x2A37: b"\x1e" + struct.pack("<BHH", 60, 1, 1), 0x2A56: b"\0"}


def test_the_table_is_that_of_the_firmware() -> None:
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in PAGE.splitlines() if line.startswith("| ")]
    shown: dict[str, list[str]] = {}
    service = uuid = ""
    for row in rows:
        if len(row) != 6 or row[0] == "services":
            continue
        if row[0] in GATT:
            service = row[0]
            assert int(row[1], 16) == GATT[service][0]
        elif row[0]:
            continue  # another table
        uuid = row[2] or uuid
        shown.setdefault(service + " " + uuid[:6], []).append(row[3].replace("`", "") + " " + row[4])
    made = {}
    for name, (_, decoder, uuids) in GATT.items():
        for number in uuids:
            values = DECODERS[decoder].decode(number, SAMPLES.get(number, b"\0\0"))
            made[f"{name} 0x{number:04X}"] = [f"{quantity} {unit or ''}" for quantity, _, unit in values]
    made["automation_io 0x2A56"] = ["digital-1, digital-2, … "]
    assert shown == made


def test_the_worked_example() -> None:
    value = re.search(r"Value: \(0x\) ([0-9A-F-]+)", PAGE)
    example = next(text for text in re.findall(r"```toml\n(.*?)```", PAGE, re.S) if "sensors.values" in text)
    assert value
    rows = tomllib.loads(re.sub("^   ", "", example, flags=re.M))["ble"]["sensors"][0]["values"]
    rows = [{"offset": 0, "scale": 1, "add": 0, "unit": None, **row} for row in rows]
    data = bytes.fromhex(value[1].replace("-", ""))
    assert decode_mapped.decode(rows, rows[0]["source"], data) == [
        ("temperature", 21.4, "Cel"),
        ("moisture", 28.62, "%"),
    ]
