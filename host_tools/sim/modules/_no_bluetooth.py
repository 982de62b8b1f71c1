"""Simulated: bluetooth of a board whose radio does not start: the script has no "ble"."""

import _sim


class BLE:
    def active(self, on=None):
        if on:
            raise OSError(5 if _sim.board["port"] == "esp32" else 110)
        return False

    def __getattr__(self, name):
        raise OSError(19)
