"""config, section ble: which sensors are taken, what is refused and in which words; keys are never shown."""

import gc
import json
import sys

from rootlet import config
from rootlet.errors import RootletError

KEY = "00112233445566778899aAbBcCdDeEfF"
SERVICE = "service:0000FCD2-0000-1000-8000-00805F9B34FB"
LEVEL = {"quantity": "level", "source": "manufacturer:04B9", "format": "<h"}
GOOD = {
    "device": "pico-1",
    "wifi": {"networks": [{"ssid": "home"}]},
    "mqtt": {"host": "broker.example"},
    "sensors": [{"kind": "simulated", "name": "demo"}],
    "ble": {
        "sensors": [
            {"name": "kitchen", "format": "bthome", "address": "A4:C1:38:12:34:56", "bindkey": KEY},
            {"name": "tank", "format": "mapped", "local_name": "TANK*", "values": [LEVEL]},
            {"name": "band", "format": "gatt", "irk": KEY},
        ]
    },
}


def changed(path, value):
    data = json.loads(json.dumps(GOOD))
    at = data
    for step in path[:-1]:
        at = at[step]
    if value is None:
        at.pop(path[-1], None)
    else:
        at[path[-1]] = value
    return data


def sensor(i, **more):
    data = json.loads(json.dumps(GOOD))
    at = data["ble"]["sensors"][i]
    for key in more:
        if more[key] is None:
            at.pop(key, None)
        else:
            at[key] = more[key]
    return data


def take(data):
    gc.collect()  # as at the start of a board; what is compiled here needs large blocks
    return config.check(data)


def error(data):
    try:
        take(data)
    except RootletError as e:
        assert e.code == "CONFIG" and e.fix, e.fact
        assert KEY.lower() not in (e.fact + e.fix).lower(), e.fact
        return e
    raise AssertionError("accepted: %s" % data)


def test_defaults_are_filled_in_and_texts_are_small_letters():
    ble = take(GOOD)["ble"]
    assert (ble["active"], ble["interval_ms"], ble["window_ms"], ble["every_s"]) == (False, 200, 80, 10)
    kitchen, tank, band = ble["sensors"]
    assert kitchen["address"] == "a4:c1:38:12:34:56" and kitchen["bindkey"] == band["irk"] == KEY.lower()
    assert (kitchen["every_s"], kitchen["change"], kitchen["local_name"], kitchen["bond"]) == (None, {}, None, False)
    assert tuple(band["services"]) == ("environmental", "battery", "heart_rate", "automation_io")
    assert tank["local_name"] == "TANK*" and len(band["values"]) == 0
    assert tank["values"] == [
        {"quantity": "level", "source": "manufacturer:04b9", "format": "<h", "offset": 0, "scale": 1, "add": 0,
         "unit": None}
    ]  # fmt: skip
    assert GOOD["ble"]["sensors"][0]["bindkey"] == KEY  # what was given is left as it was
    assert "rootlet.config_ble" not in sys.modules


def test_without_ble_nothing_is_loaded():
    for value in (None, {}):
        data = dict(GOOD)
        data["ble"] = value
        if value is None:
            assert take(data)["ble"] is None
        else:
            assert "ble.sensors is missing" in error(data).fact
        assert "rootlet.config_ble" not in sys.modules
    del data["ble"]
    assert take(data)["ble"] is None


def test_own_sensors_may_be_left_out():
    for value in (None, []):
        assert len(take(changed(["sensors"], value))["sensors"]) == 0
        data = changed(["sensors"], value)
        del data["ble"]
        fact = error(data).fact
        assert fact.startswith("sensors is missing: " if value is None else "sensors is []: "), fact


def test_each_wrong_value_names_key_value_and_fix():
    for path, value, key, shown in (
        (["ble"], [], "ble", "[]"),
        (["ble", "active"], 1, "ble.active", "1"),
        (["ble", "interval_ms"], 5, "ble.interval_ms", "5"),
        (["ble", "window_ms"], 201, "ble.window_ms", "201"),
        (["ble", "window_ms"], True, "ble.window_ms", "true"),
        (["ble", "every_s"], -1, "ble.every_s", "-1"),
        (["ble", "sensors"], [], "ble.sensors", "[]"),
        (["ble", "sensors"], [GOOD["ble"]["sensors"][0]] * 17, "ble.sensors", "[…]"),
        (["ble", "sensors", 0], "x", "ble.sensors[0]", "(not shown)"),
    ):
        assert error(changed(path, value)).fact.startswith(key + " is " + shown + ": "), (
            key,
            error(changed(path, value)),
        )


def test_each_wrong_key_of_a_sensor():
    for i, more, key, shown in (
        (0, {"name": "a b"}, "name", '"a b"'),
        (0, {"name": "demo"}, "name", '"demo"'),
        (1, {"name": "kitchen"}, "name", '"kitchen"'),
        (0, {"format": "bthom"}, "format", '"bthom"'),
        (0, {"address": "a4:c1:38:12:34"}, "address", '"a4:c1:38:12:34"'),
        (0, {"address": "a4:c1:38:12:34:5g"}, "address", '"a4:c1:38:12:34:5g"'),
        (0, {"address": "a4-c1-38-12-34-56"}, "address", '"a4-c1-38-12-34-56"'),
        (0, {"address": "a4:c1:381:2:34:56"}, "address", '"a4:c1:381:2:34:56"'),
        (0, {"address": "00:00:00:00:00:00"}, "address", '"00:00:00:00:00:00"'),
        (0, {"address": KEY}, "address", "(not shown)"),
        (0, {"bindkey": KEY[:-1]}, "bindkey", "(not shown)"),
        (0, {"bindkey": KEY[:-1] + "x"}, "bindkey", "(not shown)"),
        (0, {"bindkey": 11223344556677889900112233445566}, "bindkey", "(not shown)"),
        (0, {"bindkey": [KEY]}, "bindkey", "(not shown)"),
        (0, {"format": "ruuvi"}, "bindkey", "(not shown)"),
        (2, {"irk": KEY + "0"}, "irk", "(not shown)"),
        (1, {"local_name": "*"}, "local_name", '"*"'),
        (1, {"local_name": "x" * 30}, "local_name", '"%s"' % ("x" * 30)),
        (1, {"local_name": "a\n"}, "local_name", '"a\\n"'),
        (0, {"every_s": "1"}, "every_s", '"1"'),
        (0, {"change": {"temperature": -0.1}}, "change", "{…}"),
        (0, {"change": {"Temp": 1}}, "change", "{…}"),
        (0, {"change": {"temperature": True}}, "change", "{…}"),
        (0, {"services": ["battery"]}, "services", "[…]"),
        (2, {"services": []}, "services", "[]"),
        (2, {"services": ["battery", "batery"]}, "services", "[…]"),
        (2, {"services": ["battery", "battery"]}, "services", "[…]"),
        (2, {"services": [["battery"]]}, "services", "[…]"),
        (0, {"bond": True}, "bond", "true"),
        (0, {"values": [LEVEL]}, "values", "[…]"),
        (1, {"values": [LEVEL] * 9}, "values", "[…]"),
        (1, {"values": [7]}, "values[0]", "7"),
    ):
        fact = error(sensor(i, **more)).fact
        assert fact.startswith("ble.sensors[%d].%s is %s: " % (i, key, shown)), fact


def test_each_wrong_key_of_a_value():
    for key, value in (
        ("quantity", "Level"),
        ("source", "manufacturer:4b9"),
        ("source", "manufacturer:0000fcd2-0000-1000-8000-00805f9b34fb"),
        ("source", "service:0000fcd2000010008000-00805f9b34fb"),
        ("source", "service:fcdg"),
        ("source", "service:"),
        ("source", "service:-fcd"),
        ("source", "characteristic:2a6e"),
        ("source", "name:2a6e"),
        ("format", "h"),
        ("format", "<hh"),
        ("format", "<s"),
        ("format", "@h"),
        ("offset", -1),
        ("offset", 64),
        ("offset", 63),
        ("scale", 1e10),
        ("scale", float("nan")),
        ("add", "1"),
        ("unit", ""),
    ):
        row = dict(LEVEL)
        row[key] = value
        data = sensor(1)
        data["ble"]["sensors"][1]["values"] = [LEVEL, row]
        fact = error(data).fact
        assert fact.startswith("ble.sensors[1].values[1].%s is " % key), fact
    assert "another value has it" in error(sensor(1, values=[LEVEL, LEVEL])).fact


def test_values_come_from_where_their_format_has_them():
    characteristic = dict(LEVEL)
    characteristic["source"] = "characteristic:2A6E"
    rows = take(sensor(2, values=[characteristic]))["ble"]["sensors"][2]["values"]
    assert rows[0]["source"] == "characteristic:2a6e"
    assert "format is gatt" in error(sensor(2, values=[LEVEL])).fact
    long = dict(LEVEL)
    long["source"] = SERVICE
    rows = take(sensor(1, values=[long]))["ble"]["sensors"][1]["values"]
    assert rows[0]["source"] == SERVICE.lower()
    assert "ble.sensors[1].values is missing" in error(sensor(1, values=None)).fact


def test_exactly_one_thing_says_which_sensor_it_is():
    fact = error(sensor(0, address=None)).fact
    assert fact.startswith("ble.sensors[0].address is missing: "), fact
    fact = error(sensor(0, irk=KEY)).fact
    assert fact.startswith("ble.sensors[0].address and ble.sensors[0].irk are given: "), fact
    assert take(sensor(0, address=None, local_name="K"))["ble"]["sensors"][0]["local_name"] == "K"
    assert take(sensor(2, irk=None, address="00:00:00:00:00:01", bond=True))["ble"]["sensors"][2]["bond"]


def test_no_two_sensors_are_the_same_one():
    e = error(sensor(1, format="bthome", values=None, local_name=None, address="a4:c1:38:12:34:56"))
    assert e.fact == 'ble.sensors[1].address is "a4:c1:38:12:34:56": sensor kitchen has it', e.fact
    # One device may send two formats.
    assert take(sensor(1, format="ruuvi", values=None, local_name=None, address="a4:c1:38:12:34:56"))
    e = error(sensor(1, format="gatt", values=None, local_name=None, irk=KEY.lower()))
    assert "ble.sensors[2].irk is (not shown): sensor tank has it" == e.fact, e.fact


def test_mistyped_keys_show_no_secret():
    for key in ("bindky", "irc", "key", "x"):
        for value in (KEY, 11223344556677889900112233445566, {"key": KEY}, [KEY]):
            text = str(error(sensor(0, **{key: value})))
            assert KEY not in text and "1122334455" not in text, text
    assert error(sensor(0, bindky=KEY)).fix == 'write "bindkey"'


def test_home_assistant_needs_names_without_a_dot():
    assert take(changed(["home_assistant"], "homeassistant"))["home_assistant"] == "homeassistant"
    assert take(GOOD)["home_assistant"] is None
    for prefix in ("", "a/#", "/a", "a/", 7, "x" * 65):
        assert error(changed(["home_assistant"], prefix)).fact.startswith("home_assistant is "), prefix
    for path, key in (
        (["device"], "device"),
        (["sensors", 0, "name"], "sensors[0].name"),
        (["ble", "sensors", 1, "name"], "ble.sensors[1].name"),
    ):
        data = changed(path, "a.b")
        assert take(data)
        data["home_assistant"] = "homeassistant"
        assert error(data).fact.startswith(key + ' is "a.b": '), error(data).fact


def test_sixteen_sensors_fit():
    sensors = []
    for i in range(16):
        row = dict(GOOD["ble"]["sensors"][0])
        row["name"] = "s%d" % i
        row["address"] = "a4:c1:38:12:34:%02x" % i
        sensors.append(row)
    assert len(take(changed(["ble", "sensors"], sensors))["ble"]["sensors"]) == 16
