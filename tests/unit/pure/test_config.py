"""config: a wrong file names the key, the value, the reason and the fix; secrets are never shown."""

import json

from rootlet import config
from rootlet.errors import RootletError

GOOD = {
    "device": "pico-1",
    "wifi": {"networks": [{"ssid": "home", "password": "secret-word"}], "country": "FR"},
    "mqtt": {"host": "broker.example"},
    "sensors": [{"kind": "simulated", "name": "demo"}],
}

PIN = "sha256//AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


def changed(path, value):
    data = json.loads(json.dumps(GOOD))
    at = data
    for step in path[:-1]:
        at = at[step]
    at[path[-1]] = value
    return data


def error(data):
    try:
        config.check(data)
    except RootletError as e:
        return e
    raise AssertionError("accepted: %s" % data)


def test_defaults_are_filled_in():
    checked = config.check(GOOD)
    assert checked["mqtt"]["port"] == 8883
    assert checked["mqtt"]["qos"] == 1
    assert checked["mqtt"]["retain"] is True
    assert checked["clock"]["every_s"] == 21600
    assert checked["wifi"]["networks"][0]["ssid"] == "home"
    assert checked["https"] is None
    assert (checked["wifi"]["restart_after"], checked["wifi"]["reboot_after"]) == (3, 20)
    assert (checked["mqtt"]["commands"], checked["mqtt"]["status_s"]) == ([], 300)
    assert config.check(changed(["mqtt", "commands"], ["reboot", "status"]))["mqtt"]["commands"] == ["reboot", "status"]
    assert config.check(changed(["mqtt", "status_s"], 0))["mqtt"]["status_s"] == 0
    assert config.check(changed(["https"], None))["https"] is None


def test_each_wrong_value_names_key_value_and_fix():
    for path, value, key, shown in (
        (["mqtt", "port"], 70000, "mqtt.port", "70000"),
        (["mqtt", "port"], "8883", "mqtt.port", '"8883"'),
        (["mqtt", "port"], True, "mqtt.port", "true"),
        (["mqtt", "qos"], 2, "mqtt.qos", "2"),
        (["mqtt", "retain"], 0, "mqtt.retain", "0"),
        (["mqtt", "topic"], "a/#", "mqtt.topic", '"a/#"'),
        (["wifi", "country"], "fr", "wifi.country", '"fr"'),
        (["wifi", "networks"], [], "wifi.networks", "[]"),
        (["wifi", "networks", 0, "ssid"], "", "wifi.networks[0].ssid", '""'),
        (["wifi", "power"], "max", "wifi.power", '"max"'),
        (["device"], "a b", "device", '"a b"'),
        (["device"], "a/b", "device", '"a/b"'),
        (["https"], {"url": "http://x"}, "https.url", '"http://x"'),
        (["sensors", 0, "kind"], "geiger", "sensors[0].kind", '"geiger"'),
        (["sensors", 0, "every_s"], 0, "sensors[0].every_s", "0"),
        (["clock"], {"servers": "pool"}, "clock.servers", '"pool"'),
        (["mqtt"], None, "mqtt", "null"),
        (["mqtt", "host"], "broker.example\n", "mqtt.host", '"broker.example\\n"'),
        (["mqtt", "pins"], [], "mqtt.pins", "[]"),
        (["mqtt", "psk"], "0123456789abcdef" * 4, "mqtt.psk", "(not shown)"),
        (["mqtt", "qos"], True, "mqtt.qos", "true"),
        (["mqtt", "qos"], 1.0, "mqtt.qos", "1.0"),
        (["mqtt", "pins"], PIN, "mqtt.pins", '"%s"' % PIN),
        (["mqtt", "pins"], [PIN] * 5, "mqtt.pins", "[…]"),
        (["mqtt", "pins"], [PIN, PIN[:-1]], "mqtt.pins", "[…]"),
        (["mqtt", "pins"], [PIN, 7], "mqtt.pins", "[…]"),
        (["https"], {"url": "https://x", "pins": ["x"]}, "https.pins", "[…]"),
        (["wifi", "restart_after"], -1, "wifi.restart_after", "-1"),
        (["wifi", "reboot_after"], 1001, "wifi.reboot_after", "1001"),
        (["mqtt", "status_s"], 9, "mqtt.status_s", "9"),
        (["mqtt", "status_s"], True, "mqtt.status_s", "true"),
        (["mqtt", "commands"], "reboot", "mqtt.commands", '"reboot"'),
        (["mqtt", "commands"], ["reboot", "format"], "mqtt.commands", "[…]"),
        (["mqtt", "commands"], [["reboot"]], "mqtt.commands", "[…]"),
        (["mqtt", "commands"], ["status"] * 6, "mqtt.commands", "[…]"),
    ):
        e = error(changed(path, value))
        assert e.code == "CONFIG"
        assert e.fact.startswith(key + " is " + shown + ": "), e.fact
        assert e.fix, e.fact


def test_names_with_other_letters_are_told_to_be_written_in_ascii():
    e = error(changed(["mqtt", "host"], "b\u00fccher.example"))
    assert e.code == "CONFIG"
    assert "xn--" in e.fix
    e = error(changed(["https"], {"url": "https://b\u00fccher.example/"}))
    assert "xn--" in e.fix
    assert config.check(changed(["mqtt", "host"], "xn--bcher-kva.example"))


def test_pins():
    assert config.check(GOOD)["mqtt"]["pins"] is None
    assert config.check(changed(["mqtt", "pins"], [PIN] * 4))["mqtt"]["pins"] == [PIN] * 4
    checked = config.check(changed(["https"], {"url": "https://x", "pins": [PIN]}))
    assert checked["https"]["pins"] == [PIN]


def test_missing_and_unknown_keys():
    data = changed(["mqtt"], {})
    assert "mqtt.host is missing" in error(data).fact
    e = error(changed(["mqtt", "prot"], 1))
    assert "mqtt.prot is 1: no such key" in e.fact
    assert e.fix == 'write "port"'
    e = error(changed(["mqtt", "zzz"], 1))
    assert "known here" in e.fix


def test_a_password_is_never_shown():
    for path in (["wifi", "networks", 0, "password"], ["mqtt", "password"]):
        text = str(error(changed(path, "hunter2" * 50)))
        assert "hunter2" not in text
        assert "(not shown)" in text
    text = str(error(changed(["wifi", "networks", 0, "passwort"], "hunter2")))
    assert "hunter2" not in text, text
    text = str(error(changed(["wifi", "networks"], {"ssid": "home", "password": "hunter2"})))
    assert "hunter2" not in text, text


def test_pairs():
    assert "without mqtt.key" in error(changed(["mqtt", "cert"], "a.der")).fact
    assert "without mqtt.user" in error(changed(["mqtt", "password"], "x")).fact
    assert "pin is missing" in error(changed(["sensors", 0, "kind"], "adc")).fact
    twice = changed(["sensors"], GOOD["sensors"] * 2)
    assert "another sensor has it" in error(twice).fact


def test_not_an_object():
    for data in ([], None, 1, "x"):
        assert error(data).code == "CONFIG"


def test_a_shared_key_excludes_a_certificate():
    shared = changed(["mqtt"], {"host": "broker.example", "psk": "device.psk"})
    assert config.check(shared)["mqtt"]["psk"] == "device.psk"
    assert config.check(GOOD)["mqtt"]["psk"] is None
    shared["mqtt"]["cert"], shared["mqtt"]["key"] = "device.crt.der", "device.key.der"
    e = error(shared)
    assert e.code == "CONFIG"
    assert "mqtt.psk is given beside mqtt.cert" in e.fact
