"""Simulated: the chip's temperature and the ESP-IDF heap, both from the script."""

import _sim

HEAP_DATA = 4
HEAP_EXEC = 1


def _celsius():
    return _sim.script().get("sensors", {}).get("temperature_c", 25)


if _sim.board["temperature"]["kind"] == "esp32_mcu":

    def mcu_temperature():
        return int(_celsius() + 0.5)

else:

    def raw_temperature():
        return int(_celsius() * 9 / 5 + 32 + 0.5)


def idf_heap_info(capabilities):
    heap = _sim.script().get("idf_heap", {})
    free = heap.get("free_bytes", 120000)
    return [(180000, free, heap.get("largest_block_bytes", min(free, 110000)), free)]
