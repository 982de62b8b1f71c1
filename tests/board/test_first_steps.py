"""A new user's path by the README alone, on virtual boards of three kinds, from an empty folder."""

import json
import re
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from host_tools.paths import BUILD, ROOT
from tests.docs import fences
from tests.docs.pages import Page
from tests.integration.viewing import Browser, row_of, until

BLOCKS = [block for block in fences.blocks(ROOT / "README.md") if block.scenes and not block.elsewhere]
DEMO = BLOCKS[0]


def the_page_shows_the_reading(place: Page, said: str) -> None:
    """The dashboard's page by HTTPS, verified against the project's CA, with the token that the terminal shows."""
    found = re.search(r"(https://localhost:(\d+)/)#token=(\S+)", said)
    assert found, said
    page: Any = SimpleNamespace(url=found[1], token=found[3], site=SimpleNamespace(port=int(found[2])))
    ca: Any = SimpleNamespace(authority=SimpleNamespace(cert_pem=place.cwd / "ca-data" / "ca.crt.pem"))
    with Browser(ca, page) as browser:
        assert browser.http.get("/").status_code == 401
        assert browser.login("wrong").status_code == 401
        assert browser.login().status_code == 303
        shown = browser.http.get("/")
        assert shown.status_code == 200 and "<html" in shown.text
        until(browser.socket(), row_of("pico-1", lambda row: row["readings"]))


@pytest.mark.timeout(400)
@pytest.mark.parametrize("board", ["pico_w", "esp32_generic", "esp32_c3"])
def test_by_the_words_of_the_readme(board: str, tmp_path: Path) -> None:
    """Each block of commands works; how long each takes is printed, and written into build/new_user.json."""
    times: dict[str, float] = {}
    said = ""
    with Page(tmp_path, board) as place:
        place.replaced["pico_w"] = board
        for block in BLOCKS:
            if block == DEMO and board != "pico_w":
                continue
            began = time.monotonic()
            heard = place.run(block)
            said += heard
            if "#token=" in heard:
                the_page_shows_the_reading(place, heard)
            name = " && ".join(fences.commands(block.text)).partition("  ")[0]
            times[name] = round(time.monotonic() - began, 1)
        assert place.device
        assert "wifi: joined" in place.device.output
    for text in ("20 readings received", "the board publishes", "mqtt: connected", "temperature", "#token="):
        assert text in said or (text == "20 readings received" and board != "pico_w"), text
    assert "my-password" not in said
    times["in all"] = round(sum(times.values()), 1)
    print(f"\nnew user, {board}: {json.dumps(times)}")
    if board == "pico_w":
        BUILD.mkdir(exist_ok=True)
        (BUILD / "new_user.json").write_text(json.dumps(times, indent=2) + "\n")
