"""Virtual BLE peripherals: their payloads against published vectors, their conduct before a real central."""

import pytest

pytest.importorskip("bumble")

from host_tools.sim import adverts_made as made

_RUUVI = "CB:B8:33:4C:88:4F"


def test_ruuvi_valid_vector():
    payload = made.ruuvi(
        _RUUVI,
        temperature=24.3,
        pressure=100044,
        humidity=53.49,
        acceleration=(0.004, -0.004, 1.036),
        tx_power=4,
        voltage=2.977,
        movements=66,
        sequence=205,
    )
    assert payload == bytes.fromhex("0201061BFF99040512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F")


def test_ruuvi_extreme_vectors():
    high = made.ruuvi(_RUUVI, 163.835, 163.835, 115534, (32.767,) * 3, 3.646, 20, 254, 65534)
    assert high[7:] == bytes.fromhex("057FFFFFFEFFFE7FFF7FFF7FFFFFDEFEFFFECBB8334C884F")
    low = made.ruuvi(_RUUVI, -163.835, 0, 50000, (-32.767,) * 3, 1.6, -40, 0, 0)
    assert low[7:] == bytes.fromhex("058001000000008001800180010000000000CBB8334C884F")
    nothing = made.ruuvi("FF:FF:FF:FF:FF:FF")
    assert nothing[7:] == bytes.fromhex("058000FFFFFFFF800080008000FFFFFFFFFFFFFFFFFFFFFF")


def test_bthome_published_examples():
    assert made.bthome_objects({"humidity": 50.55, "temperature": 25.06}) == bytes.fromhex("02ca0903bf13")
    plain = made.bthome({"temperature": 25, "humidity": 50.55}, name="DIY-sensor")
    assert plain == bytes.fromhex("0201060a16d2fc4002c40903bf130b094449592d73656e736f72")
    # The counter 0x00112233 as bthome.io/encryption sends it, and as the Home Assistant parser's tests send it.
    for counter, message in (
        (0x00112233, "e445f3c9962b332211006c7c4519"),
        (0x33221100, "a47266c95f730011223378237214"),
    ):
        sealed = made.bthome(
            bytes.fromhex("02ca0903bf13"),
            bindkey=bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932"),
            counter=counter,
            address="54:48:E6:8F:80:A5",
        )
        assert sealed == bytes.fromhex("0201061216d2fc41" + message)


@pytest.mark.parametrize(
    ("objects", "hexed"),
    [
        ({"pressure": 1008.83}, "04138a01"),
        ({"illuminance": 13460.67}, "05138a14"),
        ({"battery": 97}, "0161"),
        ({"co2": 1250}, "12e204"),
        ({"voltage": 3.074}, "0c020c"),
        ({"dew_point": 17.38}, "08ca06"),
        ({"count_32": 1611213866}, "3e2a2c0960"),
        ({"temperature_tenths": 27.3}, "451101"),
        ({"acceleration": 22.151}, "518756"),
        ({"dimmer": -3, "button": 1}, "3a013c0103"),
        ({"text": "Hello World!"}, "530c48656c6c6f20576f726c6421"),
    ],
)
def test_bthome_objects(objects, hexed):
    assert made.bthome_objects(objects) == bytes.fromhex(hexed)


def test_atc_and_pvvx():
    values = {"temperature": -5.5, "humidity": 48, "battery": 87, "voltage": 2.95, "counter": 260}
    assert made.atc("A4:C1:38:12:34:56", **values) == bytes.fromhex("10161a18a4c138123456ffc930570b8604")
    wanted = bytes.fromhex("12161a185634 1238c1a4 dafd c012 860b 57 04 05")
    assert made.pvvx("A4:C1:38:12:34:56", **values, flags=5) == wanted


def test_eddystone_and_ibeacon():
    tlm = made.eddystone_tlm(voltage=3.1, temperature=-1.5, adverts=7, seconds=100)
    assert tlm == bytes.fromhex("020106 0303aafe 1116aafe 2000 0c1c fe80 00000007 000003e8")
    assert made.eddystone_tlm()[11:17] == bytes.fromhex("200000008000")
    beacon = made.ibeacon("fda50693-a4e2-4fb1-afcf-c6eb07647825", 10, 7, -59)
    assert beacon == bytes.fromhex("020106 1aff4c000215 fda50693a4e24fb1afcfc6eb07647825 000a 0007 c5")


def test_resolvable_address_by_the_standards_vector():
    # Core Specification, Vol 3, Part H, Appendix D.7.
    irk = bytes.fromhex("ec0234a357c8ad05341010a60a397d9b")
    assert made.resolvable_address(irk, 0x708194) == "70:81:94:0D:FB:AA"
    assert made.resolvable_address(irk)[0] in "4567"


@pytest.mark.parametrize(
    "make",
    [
        lambda: made.ruuvi("C4:7C:8D", 1),
        lambda: made.ruuvi(_RUUVI, temperature=400),
        lambda: made.bthome({"temperature": 400}),
        lambda: made.bthome({"colour": 1}),
        lambda: made.bthome({"battery": 1}, bindkey=bytes(16)),
        lambda: made.bthome({"battery": 1}, name="a name that is far too long"),
        lambda: made.named("n" * 40),
    ],
)
def test_what_does_not_fit_is_said(make):
    with pytest.raises(ValueError):
        make()


def test_malformed_payloads_fit_an_advertisement():
    payloads = made.malformed(1)
    assert all(len(payload) <= made.MAX_PAYLOAD for payload in payloads)
    assert payloads == made.malformed(1) != made.malformed(2)
