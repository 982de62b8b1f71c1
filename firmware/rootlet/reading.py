"""What is published of a measured value: JSON text."""

import json

from .dates import timestamp


def reading(device, sensor, quantity, value, unit, seconds, boot, sequence):
    """A reading as JSON text.

    Args: value: number or text. unit: UCUM text or None. seconds: Unix seconds of the reading. boot: how often the
        board has started. sequence: counts from 0 at each start; with boot it is unique to the device.
    """
    return json.dumps(
        {
            "device": device,
            "sensor": sensor,
            "quantity": quantity,
            "value": value,
            "unit": unit,
            "time": timestamp(seconds),
            "boot": boot,
            "seq": sequence,
        }
    )
