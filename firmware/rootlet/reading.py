"""What is published of a measured value: JSON text."""

import json

from .dates import timestamp


def reading(device, sensor, quantity, value, unit, seconds, boot, sequence, source=None):
    """A reading as JSON text.

    Args: value: number or text. unit: UCUM text or None. seconds: Unix seconds of the reading. boot: how often the
        board has started. sequence: counts from 0 at each start; with boot it is unique to the device. source: of a
        BLE sensor's (address as text, RSSI in dBm).
    """
    said = {
        "device": device,
        "sensor": sensor,
        "quantity": quantity,
        "value": value,
        "unit": unit,
        "time": timestamp(seconds),
        "boot": boot,
        "seq": sequence,
    }
    if source:
        said["address"], said["rssi"] = source
    return json.dumps(said)
