"""Writes the folder of a new project: a commented rootlet.toml, secrets.toml with placeholders, .gitignore."""

import json
import os
from pathlib import Path

from host_tools import boards
from host_tools.failure import Exit, Failure
from host_tools.project import FILE
from host_tools.project_check import MUST_NAME, is_name
from host_tools.project_secrets import FILE as SECRETS_FILE
from host_tools.project_secrets import PLACEHOLDER, variable
from host_tools.safe_write import PRIVATE, File, write_all

_TOML = """\
# What the devices of this project are. All keys: docs/project.md
# Passwords never stand here: {{ secret = "NAME" }} takes NAME from {secrets}, or from the environment.

[project]
name = {name}
# fleet = "fleet.csv"            # many devices, a row each: id,board,serial

[defaults]
board = {board}               # `rootlet boards --known` lists them

[wifi]
country = "XX"                   # two letters, such as "FR": which channels are allowed
networks = [
  {{ ssid = "my-wifi", password = {{ secret = "wifi" }} }},
]

# [clock]
# servers = ["192.168.1.1"]      # time servers; else public ones

[[brokers]]
name = "home"
host = "broker.home"             # as in its certificate: a name or an IPv4 address
auth = "mtls"                    # certificates; or "psk", or "password" with user and password = {{ secret = … }}

# [mqtt]
# topic = "rootlet/{{device}}/{{sensor}}"
# commands = ["status"]          # what `rootlet send` may ask for: also interval, rotate, update, reboot

# [outbox]
# hold_s = 10                    # how long a reading may wait in RAM alone before it goes to flash

# [https]
# url = "https://example.org/"   # a page that each device fetches and verifies when it starts

[trust]
own_ca = true                    # servers with a certificate of this project's CA
public_roots = "none"            # or "all", or some: ["ISRG Root"]

[[sensors]]
kind = "internal_temperature"
name = "chip"
every_s = 10

# [[ble.sensors]]                # Bluetooth sensors: `rootlet ble scan` prints such lines; see docs/ble.md
# name = "kitchen"
# format = "bthome"
# address = "a4:c1:38:12:34:56"

[[devices]]
id = "pico-1"
# serial = "E6614103E7452D2F"    # of its USB, when several are plugged in
# wifi = {{ hostname = "pico-1" }} # any of the tables above, for this device alone
"""
_SECRETS = """\
# Never in git. {variable} in the environment goes before the value here.
wifi = "{placeholder}"
"""
_IGNORE = """\
secrets.toml
build/
ca-data/
dashboard-data/
*.key
*.psk
*.key.pem
*.key.der
*.bak
.new-*.tmp
"""


def new(folder: Path, board: str) -> list[Path]:
    """Make the folder of a project. Nothing that exists is overwritten.

    Args: folder: its last part is the project's name. board: an id of boards/.
    Returns the files. Raises: Failure.
    """
    boards.load(board)
    name = folder.name
    if not is_name(name) or name.startswith("-"):
        raise Failure(f"{name[:48]!r} cannot be a project's name", f"it must be {MUST_NAME}, nor '-'",
                      "rootlet new garden", Exit.USAGE)  # fmt: skip
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        raise Failure(f"{folder} exists already", "a project never takes the place of another", "another name",
                      Exit.USAGE) from None  # fmt: skip
    except OSError as error:
        where = folder.parent
        raise Failure(f"cannot make {folder}", error.strerror or str(error), f"ls -ld {where}") from None
    text = _TOML.format(name=json.dumps(name), board=json.dumps(board), secrets=SECRETS_FILE)
    secrets = _SECRETS.format(variable=variable("wifi"), placeholder=PLACEHOLDER)
    files = [
        File(folder / FILE, text.encode()),
        File(folder / SECRETS_FILE, secrets.encode(), PRIVATE),
        File(folder / ".gitignore", _IGNORE.encode()),
    ]
    write_all(files)
    return [file.path for file in files]


def next_steps(folder: Path) -> list[str]:
    """What to type next."""
    here = os.path.relpath(folder)
    return [
        f"edit {here}/{FILE}: ssid, country, the broker's host, sensors",
        f"edit {here}/{SECRETS_FILE}: the WiFi password",
        f"cd {here} && rootlet provision",
    ]
