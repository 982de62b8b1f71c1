"""home_assistant: topic, units and classes of a discovery message."""

import json

from rootlet import home_assistant


def config(quantity, unit, sensor="kitchen", **more):
    topic, text = home_assistant.config(
        "homeassistant", "pico-1", sensor, quantity, unit, "rootlet/pico-1/" + sensor, "rootlet/pico-1/status", **more
    )
    return topic, json.loads(text)


def test_a_number_with_a_unit():
    topic, said = config("temperature", "Cel")
    assert topic == "homeassistant/sensor/pico-1/kitchen_temperature/config"
    assert said == {
        "uniq_id": "pico-1/kitchen/temperature",
        "name": "temperature",
        "stat_t": "rootlet/pico-1/kitchen",
        "avty_t": "rootlet/pico-1/status",
        "avty_tpl": "{{value_json.status}}",
        "dev": {"ids": ["pico-1/kitchen"], "name": "pico-1 kitchen", "mf": "Rootlet"},
        "val_tpl": '{{value_json.value if value_json.quantity=="temperature" and value_json.sensor=="kitchen"'
        " else ''}}",
        "stat_cla": "measurement",
        "unit_of_meas": "°C",
        "dev_cla": "temperature",
    }


def test_what_has_no_unit():
    said = config("button", None)[1]
    assert not {"unit_of_meas", "dev_cla", "stat_cla", "exp_aft"} & set(said)


def test_units():
    for unit, quantity, theirs, kind in (
        ("%RH", "humidity", "%", "humidity"),
        ("Pa", "pressure", "Pa", "pressure"),
        ("%", "battery", "%", "battery"),
        ("%", "moisture", "%", "moisture"),
        ("%", "battery-2", "%", "battery"),
        ("%", "level", "%", None),
        ("ug/m3", "pm25", "µg/m³", "pm25"),
        ("ug/m3", "tvoc", "µg/m³", None),
        ("ppm", "co2", "ppm", "carbon_dioxide"),
        ("deg", "direction", "°", None),
        ("L", "water", "L", None),
        ("Cel", "temperature-a1b2c3", "°C", "temperature"),
        ("V", "voltage", "V", "voltage"),
        ("mV", "analog", "mV", "voltage"),
        ("lx", "illuminance", "lx", "illuminance"),
        ("dBm", "tx_power", "dBm", "signal_strength"),
        ("[g]", "acceleration_x", "g", None),
        ("/min", "heart_rate", "/min", None),
        ("kJ", "energy", "kJ", None),
        ("s", "rr_interval", "s", None),
        ("furlong", "x", "furlong", None),
        ("C", "x", "C", None),
        ("el", "x", "el", None),
        ("", "x", None, None),
    ):
        said = config(quantity, unit)[1]
        assert said.get("unit_of_meas") == theirs, unit
        assert said.get("dev_cla") == kind, unit


def test_an_energy_meter_counts_up():
    said = config("energy", "kWh")[1]
    assert said["dev_cla"] == "energy" and said["stat_cla"] == "total_increasing", "else Home Assistant refuses it"


def test_values_may_end():
    assert config("temperature", "Cel", expire_s=600)[1]["exp_aft"] == 600


def test_names_that_home_assistant_does_not_take():
    topic, said = config("q", None, "kit.ch en/+#é")
    assert topic == "homeassistant/sensor/pico-1/kit-ch-en----_q/config"
    assert said["uniq_id"] == "pico-1/kit.ch en/+#é/q", "what is unique stays so"
    assert said["stat_t"] == "rootlet/pico-1/kit.ch en/+#é"


def test_the_message_is_small():
    for quantity, unit in (("acceleration_x", "[g]"), ("button", None), ("temperature", "Cel")):
        text = home_assistant.config(
            "homeassistant", "d" * 20, "s" * 20, quantity, unit, "rootlet/" + "d" * 20 + "/" + "s" * 20, "r" * 36
        )[1]
        assert len(text.encode()) < 600, len(text)
