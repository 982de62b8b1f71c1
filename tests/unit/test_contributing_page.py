"""The map of the house names every folder and every module."""

import re
from fnmatch import fnmatch

import pytest

from host_tools.paths import ROOT

PAGE = (ROOT / "docs" / "CONTRIBUTING.md").read_text()
MAP, FIRMWARE, HOST = re.split(r"### The firmware, by family|### The host, by family", PAGE.split("## Rules")[0])


@pytest.mark.parametrize(("text", "folder"), [(FIRMWARE, "firmware/rootlet"), (HOST, "host_tools")])
def test_every_module_has_its_family(text: str, folder: str) -> None:
    named = re.findall(r"`([\w*]+)`", "".join(row.split("|")[1] for row in text.splitlines() if row.startswith("| `")))
    modules = {path.stem for path in (ROOT / folder).glob("*.py") if not path.stem.startswith("__")}
    assert [module for module in sorted(modules) if not any(fnmatch(module, name) for name in named)] == []
    assert [name for name in named if not any(fnmatch(path.stem, name) for path in (ROOT / folder).iterdir())] == []


def test_every_folder_is_on_the_map() -> None:
    named = set(re.findall(r"^\| `([\w/]+)/` \|", MAP, re.M))
    python = {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("host_tools/*/*.py")}
    tests = {str(path.parent.relative_to(ROOT)) for path in ROOT.glob("tests/*/test_*.py")}
    assert python | tests | {"firmware", "host_tools", "boards", "certs", "docs"} <= named
