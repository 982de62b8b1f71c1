"""Bindkeys for looking at encrypted sensors: from a file, the environment or a prompt, never from the command line."""

import getpass
import os
import re
import sys
from pathlib import Path

from host_tools import ble_scan
from host_tools.failure import Exit, Failure

VARIABLE = "ROOTLET_BINDKEY"
_MOST_BYTES = 4096


def read(wishes: list[str]) -> dict[str, bytes]:
    """Keys by address. Args: wishes: each ADDRESS or ADDRESS=FILE. Raises Failure, which never holds a key."""
    return dict(_one(wish) for wish in wishes)


def _one(wish: str) -> tuple[str, bytes]:
    address, given, file = wish.partition("=")
    address = ble_scan.address_of(address)
    if given:
        if re.fullmatch(r"[0-9a-fA-F]{32}", file):
            fix = f"--bindkey {address}   (it is asked for), or --bindkey {address}=FILE"
            raise Failure("a key does not belong on the command line", "others can read it there", fix, Exit.USAGE)
        text, where = _file(Path(file)), file
    elif VARIABLE in os.environ:
        text, where = os.environ[VARIABLE], VARIABLE
    elif sys.stdin.isatty():
        text, where = getpass.getpass(f"bindkey of {address} (32 hexadecimal digits): "), "what was typed"
    else:
        raise Failure(f"there is no bindkey for {address}", "no file is given, and nobody can be asked here",
                      f"--bindkey {address}=FILE, or the environment variable {VARIABLE}", Exit.USAGE)  # fmt: skip
    text = text.strip()
    if not re.fullmatch(r"[0-9a-fA-F]{32}", text):
        raise Failure("the bindkey cannot be used", f"{where}: it must be 32 hexadecimal digits",
                      "copy it from the sensor's app", Exit.USAGE)  # fmt: skip
    return address, bytes.fromhex(text)


def _file(path: Path) -> str:
    try:
        with path.open("rb") as f:
            data = f.read(_MOST_BYTES)
    except OSError as error:
        raise Failure(
            f"cannot read {path}", error.strerror or "it cannot be opened", f"ls -l {path}", Exit.USAGE
        ) from None
    return data.split(b"\n")[0].decode(errors="replace")
