"""docs/ble-formats.md names every quantity that the decoders of advertisements give, with its unit."""

import re

from host_tools.paths import FIRMWARE
from rootlet import decode_atc, decode_bthome, decode_eddystone, decode_ibeacon, decode_ruuvi

PAGE = (FIRMWARE.parent / "docs" / "ble-formats.md").read_text()


def section(title: str) -> str:
    return re.split(r"^## ", PAGE.split(f"\n## {title}\n")[1], flags=re.M)[0]


def test_bthome() -> None:
    text = section("BTHome")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    for name in decode_bthome._NAMES.split(",")[1:-1]:
        quantity, _, unit = name.partition(" ")
        assert f"`{quantity}`" in text, name
        if unit:
            assert any(f"`{quantity}`" in row and unit in row for row in rows), name
    for event in re.split(r"[,|]", decode_bthome._EVENTS):
        assert event in text


def test_the_others() -> None:
    atc = bytes.fromhex("ccbbaa38c1a46c07fa13d60a52090f")
    tag = bytes.fromhex("0512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F")
    for title, values in (
        (
            "RuuviTag",
            decode_ruuvi.decode(tag, b"", None, {}),
        ),
        ("ATC and pvvx", decode_atc.decode(atc, bytes.fromhex("a4c138aabbcc"), None, {})),
        ("Eddystone", decode_eddystone.decode(bytes.fromhex("2000138815000000000100000001"), b"", None, {})),
        ("iBeacon", decode_ibeacon.decode(b"\x02\x15" + bytes(21), b"", None, {})),
    ):
        rows = [line for line in section(title).splitlines() if line.startswith("| `")]
        assert len(values) > 3
        for quantity, _, unit in values:
            assert any(f"`{quantity}`" in row and (unit or "| |") in row for row in rows), (title, quantity)
