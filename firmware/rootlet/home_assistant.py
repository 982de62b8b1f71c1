"""What makes a quantity appear in Home Assistant by itself: an MQTT discovery message.

Source: https://www.home-assistant.io/integrations/mqtt/#mqtt-discovery and /integrations/sensor.mqtt/; the keys are
Home Assistant's abbreviations.
"""

import json

# Our unit, or unit:quantity; Home Assistant's unit; its device class, where one takes this unit whatever is measured.
_UNITS = """
Cel °C temperature
%RH % humidity
Pa Pa pressure
%:battery % battery
%:moisture % moisture
lx lx illuminance
V V voltage
mV mV voltage
A A current
W W power
kWh kWh energy
dBm dBm signal_strength
kg kg weight
m/s m/s speed
ppm:co2 ppm carbon_dioxide
ug/m3:pm25 µg/m³ pm25
ug/m3:pm10 µg/m³ pm10
ug/m3 µg/m³
uS/cm µS/cm conductivity
m3/h m³/h volume_flow_rate
m3 m³
m/s2 m/s²
[g] g
deg °
"""


def _unit(unit, quantity):
    """Home Assistant's unit and device class; a unit that is not listed is shown as it is."""
    for key in (unit + ":" + quantity.split("-")[0], unit):  # battery-2 is a battery
        at = _UNITS.find("\n" + key + " ") + 1
        if at:
            return (_UNITS[at : _UNITS.find("\n", at)].split(" ") + [""])[1:3]
    return unit, ""


def _plain(name):
    """A name as Home Assistant takes it in topics: letters, digits, '-' and '_'; '-' for anything else."""
    return "".join(c if "a" <= c <= "z" or "A" <= c <= "Z" or "0" <= c <= "9" or c in "-_" else "-" for c in name)


def config(prefix, device, sensor, quantity, unit, topic, status_topic, expire_s=0):
    """(topic, JSON text) of the message, to be published retained.

    Args: prefix: of discovery topics, "homeassistant". unit: UCUM text; None for what has no unit, be it a number or
        text. topic: where the sensor's readings are published, all its quantities, perhaps other sensors' too.
        status_topic: of the device.
        expire_s: after how many seconds without any reading of the sensor its values are unknown; 0: never.
    """
    # As JSON a text is a text of Jinja too: no name can break out of the template.
    which = "value_json.quantity==%s and value_json.sensor==%s" % (json.dumps(quantity), json.dumps(sensor))
    out = {
        "uniq_id": device + "/" + sensor + "/" + quantity,
        "name": quantity,
        "stat_t": topic,
        "avty_t": status_topic,
        "avty_tpl": "{{value_json.status}}",
        "dev": {"ids": [device + "/" + sensor], "name": device + " " + sensor, "mf": "Rootlet"},
    }
    if unit:
        # A number keeps its state where the template gives nothing. this.state will not do: it is in the unit that the
        # user has chosen.
        out["val_tpl"] = "{{value_json.value if " + which + " else ''}}"
        out["unit_of_meas"], kind = _unit(unit, quantity)
        out["stat_cla"] = "total_increasing" if kind == "energy" else "measurement"
        if kind:
            out["dev_cla"] = kind
    else:
        # A text takes nothing for a new state, so it is given its old one.
        out["val_tpl"] = "{{value_json.value if " + which + " else this.state|replace('unavailable','unknown')}}"
    if expire_s:
        out["exp_aft"] = expire_s
    # The device's name stays as it is: the broker's rules of access name it.
    return "%s/sensor/%s/%s_%s/config" % (prefix, device, _plain(sensor), _plain(quantity)), json.dumps(out)
