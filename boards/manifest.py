# Freezes Rootlet into a firmware build, so that its code takes flash, not heap.
#
# `make umqtt` (or any first `make`) fetches umqtt.simple into the build folder; then, in a MicroPython checkout:
#   make -C ports/rp2 BOARD=RPI_PICO_W FROZEN_MANIFEST=/path/to/rootlet/boards/manifest.py
#   make -C ports/esp32 BOARD=ESP32_GENERIC FROZEN_MANIFEST=/path/to/rootlet/boards/manifest.py
# main.py, boot.py, the configuration, keys and trust roots stay on the file system: they differ from board to board.

# What the board would freeze without us: some boards have a manifest of their own, others take their port's.
include("$(PORT_DIR)/boards/manifest.py")
# The Pico W's own adds these two to that of its port; naming them again on other boards does no harm.
require("bundle-networking")
require("aioble")

package("rootlet", base_path="../firmware")
package("umqtt", files=("simple.py",), base_path="../build/umqtt")
