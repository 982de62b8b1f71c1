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
