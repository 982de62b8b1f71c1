"""What is published of a measured value: JSON text."""

import json

from .dates import timestamp


def reading(device, sensor, quantity, value, unit, seconds, boot, sequence, source=None):
    """A reading as JSON text.

    Args: device, sensor, quantity: text. value: text, or a number: a fraction is told with seven digits, one that is
    not finite as null. unit: UCUM text or None. seconds: Unix seconds of the reading. boot: how often the board has
    started. sequence: counts from 0 at each start; with boot it is unique to the device. source: of a BLE sensor's
    (address as text, RSSI in dBm).
    """
    said = {
        "device": device,
        "sensor": sensor,
        "quantity": quantity,
        "unit": unit,
        "time": timestamp(seconds),
        "boot": boot,
        "seq": sequence,
    }
    if source:
        said["address"], said["rssi"] = source
    if isinstance(value, float):
        # Some builds print 24.3 as 24.299999999999997; boards hold no more than seven digits anyway.
        return '%s, "value": %s}' % (json.dumps(said)[:-1], "%.7g" % value if value - value == 0 else "null")
    said["value"] = value
    return json.dumps(said)
