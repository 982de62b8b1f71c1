"""Home Assistant's view: its template engine renders our discovery messages for a stream of readings."""

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2.sandbox import ImmutableSandboxedEnvironment

from rootlet import home_assistant
from rootlet.reading import reading

# homeassistant/components/mqtt/discovery.py: what it takes for a topic, after the prefix.
TOPIC = re.compile(r"(?P<component>\w+)/(?:(?P<node_id>[a-zA-Z0-9_-]+)/)?(?P<object_id>[a-zA-Z0-9_-]+)/config")
SHOWN_IN = {"°C": 1.8}  # a user in Fahrenheit: the state that a template sees is not what was published


class Entity:
    """A sensor of Home Assistant as far as MQTT goes: https://www.home-assistant.io/integrations/sensor.mqtt/."""

    def __init__(self, text: str) -> None:
        self.config: dict[str, Any] = json.loads(text)
        environment = ImmutableSandboxedEnvironment()
        self._template = environment.from_string(self.config["val_tpl"])
        self._available = environment.from_string(self.config["avty_tpl"])
        self.numeric = "unit_of_meas" in self.config or "stat_cla" in self.config
        self.value: str | None = None
        self.available = False

    @property
    def state(self) -> str:
        if not self.available:
            return "unavailable"
        if self.value is None:
            return "unknown"
        if self.numeric and self.config.get("unit_of_meas") in SHOWN_IN:
            return "%.4f" % (float(self.value) * SHOWN_IN[self.config["unit_of_meas"]] + 32)
        return self.value

    def status(self, text: str) -> None:
        said = self._available.render(value_json=json.loads(text))
        self.available = {"online": True, "offline": False}.get(said, self.available)

    def receive(self, text: str) -> None:
        said = self._template.render(value=text, value_json=json.loads(text), this={"state": self.state})
        if not self.numeric:
            self.value = said
        elif said:  # an empty one is passed over
            float(said)  # else it is an error there
            self.value = said


def entity(quantity: str, unit: str | None) -> Entity:
    where, text = home_assistant.config(
        "homeassistant", "pico-1", "kitchen", quantity, unit, "rootlet/pico-1/kitchen", "rootlet/pico-1/status"
    )
    match = TOPIC.fullmatch(where.removeprefix("homeassistant/"))
    assert match and match["component"] == "sensor" and match["node_id"] == "pico-1"
    return Entity(text)


def told(quantity: str, value: object, unit: str | None) -> str:
    return reading("pico-1", "kitchen", quantity, value, unit, 1790000000, 1, 1)


def test_readings_of_several_quantities_on_one_topic() -> None:
    units = {"temperature": "Cel", "humidity": "%RH", "button": None, "contact": None, "digital-1": None}
    entities = {quantity: entity(quantity, unit) for quantity, unit in units.items()}

    def states() -> dict[str, str | None]:
        return {quantity: one.value for quantity, one in entities.items()}

    for one in entities.values():
        one.status('{"status": "online", "boots": 3}')
    expected: dict[str, str | None] = {
        "temperature": None, "humidity": None, "button": "unknown", "contact": "unknown", "digital-1": "unknown",
    }  # fmt: skip
    stream: list[tuple[str, object]] = [
        ("temperature", 21.37), ("humidity", 45.5), ("temperature", -0.01), ("button", "double_press"), ("contact", 1),
        ("temperature", 0), ("contact", 0), ("digital-1", 1), ("button", ""), ("humidity", 1e-07), ("other", 7),
        ("temperature", 0.0),
    ]  # fmt: skip
    for quantity, value in stream:
        for one in entities.values():
            one.receive(told(quantity, value, units.get(quantity)))
        if quantity in expected:
            expected[quantity] = "%.7g" % value if isinstance(value, float) else str(value)
        assert states() == expected


def test_two_sensors_on_one_topic() -> None:
    one = entity("temperature", "Cel")
    one.receive(told("temperature", 20, "Cel"))
    one.receive(reading("pico-1", "cellar", "temperature", 9, "Cel", 1790000000, 1, 1))
    one.receive('{"status": "online"}')
    assert one.value == "20"


def test_a_number_is_not_taken_from_the_shown_state() -> None:
    one = entity("temperature", "Cel")
    one.status('{"status": "online"}')
    one.receive(told("temperature", 20, "Cel"))
    assert one.state == "68.0000"
    for _ in range(3):
        one.receive(told("humidity", 50, "%RH"))
    assert one.state == "68.0000"


def test_availability() -> None:
    one = entity("button", None)
    assert one.state == "unavailable"
    one.receive(told("other", 1, None))
    one.status('{"status": "online"}')
    assert one.state == "unknown", "what came before the status is no state"
    one.receive(told("button", "press", None))
    one.status('{"status": "offline", "why": "reboot"}')
    assert one.state == "unavailable"
    one.status('{"status": "online"}')
    assert one.state == "press"


HOSTILE = (
    '"', "'", '" or true or "', "'}}{{7*7}}{{'", '"}}{{7*7}}{{"', "\\", '\\"', '\\\\"}}{{1}}', "{% raw %}", "{#", "#}",
    "%}{{1}}", "\n", "}}", "é", "\\u0022", "{{this}}", "x" * 64,
)  # fmt: skip


@pytest.mark.parametrize("quantity", HOSTILE)
@pytest.mark.parametrize("unit", ["Cel", None])
def test_no_quantity_breaks_out_of_the_template(quantity: str, unit: str | None) -> None:
    check_hostile(quantity, unit)


@given(quantity=st.text(min_size=1), unit=st.sampled_from(["Cel", None]))
def test_no_text_at_all_breaks_out_of_the_template(quantity: str, unit: str | None) -> None:
    check_hostile(quantity, unit)


def check_hostile(quantity: str, unit: str | None) -> None:
    one = entity(quantity, unit)
    one.status('{"status": "online"}')
    before = one.value
    one.receive(told("innocent" + quantity, 5, unit))
    assert one.value == before or (one.value == "unknown" and unit is None)
    one.receive(told(quantity, 6, unit))
    # CPython's JSON writes what is beyond 16 bits as two halves, which are not one letter to Jinja. No name has them.
    assert one.value == "6" or max(quantity) > "\uffff"
