"""The firmware as it lies in a build of MicroPython that has it frozen in: code that runs where it is, not in the heap.

The interpreter of the virtual board has no room for modules of ours, but a file system in memory, ROMFS, whose modules
run in place too. It takes more heap than frozen code does: the names in it go into the heap.
"""

import tempfile
from pathlib import Path

from host_tools import deploy, umqtt
from host_tools.mpy import compile_source
from host_tools.sim.child import MODULES


def build(out: Path) -> Path:
    """Write the image: the packages rootlet and umqtt, and the stand-ins. Returns out. Raises Failure."""
    from mpremote.romfs import VfsRomWriter

    image = VfsRomWriter()
    for path in sorted(MODULES.glob("*.py")):
        image.mkfile(f"{path.stem}.mpy", compile_source(path.read_bytes(), path.name))
    with tempfile.TemporaryDirectory() as folder:
        image.opendir("rootlet")
        for module in deploy.build_firmware(Path(folder)):
            image.mkfile(module.name, module.read_bytes())
        image.closedir()
    image.opendir("umqtt")
    simple = umqtt.fetch() / "umqtt" / "simple.py"
    image.mkfile("simple.mpy", compile_source(simple.read_bytes(), "umqtt/simple.py"))
    image.closedir()
    out.write_bytes(image.finalise())
    return out
