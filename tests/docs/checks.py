"""What can be said of a block without running it."""

import json
import re
import shlex
import subprocess
from pathlib import Path
from typing import Any

import click
import typer

from host_tools import project, project_new
from host_tools.commands.app import app
from host_tools.paths import ROOT
from rootlet import config
from tests.docs import fences
from tests.docs.fences import Block

_CONFIG = {
    "device": "pico-1",
    "wifi": {"networks": [{"ssid": "a", "password": "password"}]},
    "mqtt": {"host": "broker.home", "cert": "device.crt.der", "key": "device.key.der"},
    "sensors": [{"kind": "internal_temperature", "name": "chip"}],
}
_PINS = tuple("sha256//" + letter * 43 + "=" for letter in "AEIM")


def merged(base: Any, over: Any) -> Any:
    """Tables key by key, all else replaced."""
    if isinstance(base, dict) and isinstance(over, dict):
        return {**base, **{key: merged(base.get(key), value) for key, value in over.items()}}
    return over


def shell(block: Block) -> None:
    """`sh -n`; each command and option of `rootlet` exists."""
    done = subprocess.run(["sh", "-n"], input=block.text, capture_output=True, text=True, check=False)
    prompts = re.search(r"^\$ ", block.text, re.M)
    assert prompts or "<" in block.text or done.returncode == 0, f"{block.place}: {done.stderr}"
    for command in fences.commands(block.text):
        known(command, block.place)


def known(command: str, place: str) -> None:
    """Whether `rootlet` has the command and the options, `make` the target, that are used. Raises AssertionError."""
    said = fences.words(command)
    if said[:1] == ["make"] and "-C" not in said:
        targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), re.M)
        assert set(word for word in said[1:] if "=" not in word) <= set(targets), f"{place}: no target of `{command}`"
    at = next((i for i, word in enumerate(said) if word.rsplit("/", 1)[-1] == "rootlet"), None)
    if at is None:
        return
    found: Any = typer.main.get_command(app)
    rest = said[at + 1 :]
    path = "rootlet"
    while isinstance(found, click.Group) or hasattr(found, "commands"):
        if not rest or rest[0].startswith("-"):
            break
        assert rest[0] in found.commands, f"{place}: there is no `{path} {rest[0]}`"
        path, found = f"{path} {rest[0]}", found.commands[rest[0]]
        rest = rest[1:]
    options = {name for option in found.params for name in option.opts} | {"--help", "--debug", "--version"}
    for word in rest:
        if word == "--":
            known(shlex.join(rest[rest.index("--") + 1 :]), place)
            return
        name = word.partition("=")[0]
        if re.match(r"--?[a-z]", name) and "ignore_unknown_options" not in (found.context_settings or {}):
            assert name in options, f"{place}: `{path}` has no {name}"


def json_(block: Block) -> None:
    """A board's configuration, or a part of one: firmware/rootlet/config.py takes it."""
    pins = iter(_PINS)
    data = json.loads(re.sub("sha256//…", lambda _: next(pins), block.text))
    config.check(data if "device" in data else merged(_CONFIG, data))


def toml(block: Block, folder: Path) -> None:
    """Lines of a project: with them, a new one is taken, and each device's configuration, too."""
    import tomllib

    home = folder / "garden"
    project_new.new(home, "pico_w")
    data = tomllib.loads(block.text)
    file = home / project.FILE
    base = tomllib.loads(file.read_text())
    base["wifi"]["country"] = "FR"
    names = re.findall(r'secret = "([^"]+)"', block.text)
    secrets = {"wifi": "password", **{name: "00112233445566778899aabbccddeeff" for name in names}}
    both = merged(base, data)
    for device in both["devices"]:
        device.setdefault("id", "pico-1")
    file.write_text("".join(f"{json.dumps(key)} = {inline(value)}\n" for key, value in both.items()))
    (home / "secrets.toml").write_text("".join(f"{json.dumps(k)} = {inline(v)}\n" for k, v in secrets.items()))
    (home / "secrets.toml").chmod(0o600)
    for device in project.load(home).devices:
        assert device.config["device"] == device.id


def inline(value: Any) -> str:
    """A value as TOML writes it in one line."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{json.dumps(key)} = {inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    return json.dumps(value)
