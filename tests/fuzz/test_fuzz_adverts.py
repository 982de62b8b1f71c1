"""Any bytes as an advertisement, for every decoder: values that are sound, or BLE_DATA or BLE_KEY. Nothing is kept."""

import math
import random
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESCCM
from hypothesis import given
from hypothesis import strategies as st

from rootlet import aes_ccm, ble_adverts, decode_atc, decode_bthome, decode_eddystone, decode_ibeacon, decode_ruuvi
from rootlet.errors import RootletError
from tests.fuzz.mutate import INPUTS, bounded, change

ADDRESS = bytes.fromhex("a4c138aabbcc")
KEY = bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932")
Values = list[tuple[str, Any, str | None]]
Decode = Callable[[Any, bytes, bytes | None, dict[str, Any]], Values]

TEXT_MOST = 160  # characters; the longest is a BTHome command with 31 arguments


def bthome(plain: bytes, counter: int) -> bytes:
    count = counter.to_bytes(4, "little")
    sealed = AESCCM(KEY, tag_length=4).encrypt(ADDRESS + b"\xd2\xfc\x41" + count, plain, None)
    return b"\x41" + sealed[:-4] + count + sealed[-4:]


def atc(plain: bytes, counter: int) -> bytes:
    head = bytes((len(plain) + 8, 0x16, 0x1A, 0x18, counter & 255))
    return head[4:] + AESCCM(KEY, tag_length=4).encrypt(ADDRESS[::-1] + head, plain, b"\x11")


FORMATS: dict[str, tuple[Decode, tuple[str, ...]]] = {
    "bthome": (
        decode_bthome.decode,
        (
            "40000902ca0903bf13", "44000a3a013a80", "40530c48656c6c6f20576f726c6421", "40540312345653025a5a",
            "4004138a0105138a140b021b00", "403b0103053c0103", "40f00100f100010204f2000106", "4058ea59ea5aeaea5bea0234ea",
            "41e445f3c9962b332211006c7c4519",
        ),
    ),
    "ruuvi": (decode_ruuvi.decode, ("0512fc5394c37c0004fffc040cac364200cdcbb8334c884f",)),
    "atc": (
        decode_atc.decode,
        ("a4c138aabbcc00ce33430a6ec3", "ccbbaa38c1a46c07fa13d60a52090f", "bde9b75db856f303", "bd86c53ffab900c1515859"),
    ),
    "eddystone": (decode_eddystone.decode, ("200013881500" + "00000001" * 2, "00e7" + "00" * 18, "2001" + "00" * 16)),
    "ibeacon": (decode_ibeacon.decode, ("0215e2c56db5dffb48d2b060d0f5a71096e00001fffec5",)),
}  # fmt: skip


def inputs(name: str, seed: int = 1) -> Iterator[tuple[random.Random, bytes]]:
    """Samples changed once to four times, now and then nothing but chance."""
    dice = random.Random(seed)
    samples = [bytes.fromhex(text) for text in FORMATS[name][1]]
    for _ in range(INPUTS):
        if dice.randrange(10) == 0:
            data = dice.randbytes(dice.randrange(32))
        else:
            data = dice.choice(samples)
            for _ in range(dice.randrange(1, 5)):
                data = change(dice, data, dice.choice(samples))
        yield dice, data[:252]  # what fits into an AD structure


def sound(values: Values) -> None:
    """That values are what may go on: names and units short, numbers finite, texts bounded."""
    assert type(values) is list and len(values) <= 126
    names = [row[0] for row in values]
    assert len(set(names)) == len(names)
    for quantity, value, unit in values:
        assert quantity.replace("-", "_").replace("_", "a").isalnum() and quantity.isascii() and len(quantity) <= 24
        assert unit is None or 0 < len(unit) <= 10
        if type(value) is str:
            assert len(value) <= TEXT_MOST
            value.encode()
        else:
            assert type(value) in (int, float) and math.isfinite(value) and abs(value) < 1 << 33


def use(decode: Decode, data: bytes, key: bytes | None, state: dict[str, Any]) -> Values | None:
    """Decode, twice from an empty state: the values, or None where it is refused."""
    lent = bytearray(data)
    try:
        values = decode(memoryview(lent), ADDRESS, key, state)
    except RootletError as e:
        assert e.code in ("BLE_DATA", "BLE_KEY") and 0 < len(e.fact) < 100 and e.fact.isprintable(), e.fact
        return None
    finally:
        # Neither values nor state may look at what was lent; a bytearray that is looked at cannot change its size.
        if not lent:
            lent += b"x"
        lent.clear()
    sound(values)
    assert len(state) <= 4
    for held in state.values():
        assert held is None or type(held) is int or (type(held) is bytes and len(held) <= 252), held
    return values


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("key", [None, KEY], ids=["plain", "key"])
def test_changed_messages(name: str, key: bytes | None) -> None:
    decode = FORMATS[name][0]
    state: dict[str, Any] = {}
    given_values = 0
    for dice, data in inputs(name):
        if dice.randrange(50) == 0:
            state = {}
        given_values += bool(use(decode, data, key, state))
    assert given_values > INPUTS // 1000 or (key and name in ("bthome", "atc")), given_values


@pytest.mark.parametrize("name", ["bthome", "atc"])
def test_changed_before_they_were_encrypted(name: str) -> None:
    """The same through a key that fits: a hostile or broken sensor, not a stranger."""
    decode = FORMATS[name][0]
    state: dict[str, Any] = {}
    values = 0
    for counter, (dice, data) in enumerate(inputs(name, 2)):
        data = bthome(data[1:200], counter) if name == "bthome" else atc(data[: dice.choice((3, 6))], counter)
        values += bool(use(decode, data, KEY, state))
    assert values > INPUTS // 20
    assert name == "atc" or state["counter"] > INPUTS - 100


def test_encrypted_and_plain_say_the_same() -> None:
    for counter, (_, data) in enumerate(inputs("bthome", 3)):
        data = data[1:200]
        if data:
            plain = use(decode_bthome.decode, b"\x40" + data, None, {})
            assert use(decode_bthome.decode, bthome(data, counter), KEY, {}) == plain


def test_memory_of_many_messages() -> None:
    state: dict[str, Any] = {}
    with bounded(100_000, "decoding"):
        for counter in range(2000):
            use(decode_bthome.decode, bthome(b"\x53\x40" + b"x" * 64, counter), KEY, state)


def test_any_payload() -> None:
    dice = random.Random(4)
    whole = bytes.fromhex("0201060b094449592d73656e736f720a16d2fc4002c40903bf13")
    for _ in range(INPUTS):
        payload = dice.randbytes(dice.randrange(40)) if dice.randrange(4) == 0 else whole
        for _ in range(dice.randrange(4)):
            payload = change(dice, payload, whole)
        rows = list(ble_adverts.fields(memoryview(payload)))
        assert sum(2 + len(data) for _, data in rows) <= len(payload)
        at = 0
        for kind, data in rows:
            assert payload[at : at + 2 + len(data)] == bytes((len(data) + 1, kind)) + bytes(data)
            at += 2 + len(data)
        found = ble_adverts.find(payload, 0x16, 0xFCD2)
        assert (found is not None) == any(kind == 0x16 and data[:2] == b"\xd2\xfc" for kind, data in rows)
        name = ble_adverts.local_name(payload)
        assert (name is None) == all(kind not in (8, 9) for kind, _ in rows)


@given(
    st.binary(min_size=16, max_size=16),
    st.binary(min_size=7, max_size=13),
    st.binary(max_size=100),
    st.binary(max_size=60),
    st.sampled_from([4, 6, 8, 10, 12, 14, 16]),
)
def test_ccm_is_that_of_cryptography(key: bytes, nonce: bytes, plain: bytes, aad: bytes, size: int) -> None:
    sealed = AESCCM(key, tag_length=size).encrypt(nonce, plain, aad)
    assert aes_ccm.decrypt(key, nonce, sealed[:-size], sealed[-size:], aad) == plain
    wrong = sealed[:-1] + bytes((sealed[-1] ^ 1,))
    assert aes_ccm.decrypt(key, nonce, wrong[:-size], wrong[-size:], aad) is None
