"""reading: what is published can be read back."""

import json

from rootlet.reading import reading


def test_every_field():
    text = reading("pico-1", "chip", "temperature", 24.5, "Cel", 1790000000, 3, 7)
    assert json.loads(text) == {
        "device": "pico-1",
        "sensor": "chip",
        "quantity": "temperature",
        "value": 24.5,
        "unit": "Cel",
        "time": "2026-09-21T14:13:20Z",
        "boot": 3,
        "seq": 7,
    }


def test_text_and_no_unit():
    said = json.loads(reading("d", "s", "state", 'say "hi"', None, 0, 0, 0))
    assert said["value"] == 'say "hi"' and said["unit"] is None


def test_what_came_by_bluetooth_names_its_source():
    said = json.loads(reading("d", "s", "q", 1, None, 0, 0, 0, ("a4:c1:38:12:34:56", -61)))
    assert said["address"] == "a4:c1:38:12:34:56" and said["rssi"] == -61


def value_of(value):
    text = reading("d", "s", "q", value, None, 0, 0, 0)
    return json.loads(text)["value"], text


def test_fractions_are_told_without_noise():
    for n in range(-10000, 10000, 7):
        value, text = value_of(n / 100)
        shown = text.split('"value": ')[1].split(",")[0].split("}")[0]
        assert len(shown) <= 6 and abs(float(shown) * 100 - n) < 0.01, text


def test_whole_numbers_keep_all_their_digits():
    assert value_of(123456789)[0] == 123456789 and value_of(0)[0] == 0
    assert value_of(20.0)[0] == 20 and value_of(1e10)[0] == 1e10


def test_what_is_not_finite_is_null():
    for value in (float("inf"), -float("inf"), float("nan")):
        assert value_of(value)[0] is None
