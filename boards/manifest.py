# Freezes Rootlet into a firmware build, so that its code takes flash, not heap.
#
# umqtt.simple must be in the build folder first (`make test` or `make demo` puts it there).
# Then, in a MicroPython checkout, with an absolute path:
#   make -C ports/rp2 BOARD=RPI_PICO_W FROZEN_MANIFEST=/path/to/rootlet/boards/manifest.py
#   make -C ports/esp32 BOARD=ESP32_GENERIC FROZEN_MANIFEST=/path/to/rootlet/boards/manifest.py
# main.py, boot.py, the configuration, keys and trust roots stay on the file system: they differ from board to board.

# What stock builds of both ports freeze, named one by one: the esp32 port's own list also has umqtt.simple,
# in another version, and the same module cannot be frozen twice.
freeze("$(PORT_DIR)/modules")
include("$(MPY_DIR)/extmod/asyncio")
require("bundle-networking")
require("aioble")
require("dht")
require("ds18x20")
require("neopixel")
require("onewire")

package("rootlet", base_path="../firmware")
package("umqtt", files=("simple.py",), base_path="../build/umqtt-1.3.4")
