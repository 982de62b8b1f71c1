"""What a device may say that is meant to do harm, or is of a type that nobody expects: the page stays right."""

import re
import time
from typing import Any

import pytest

pytest.importorskip("playwright", reason="playwright is not installed (the extra `dev`)")
pytest.importorskip("starlette", reason="starlette is not installed (the extra `dashboard`)")

from playwright.sync_api import expect

from tests.browser.made_up import device, reading, trouble
from tests.browser.on_the_page import names, row
from tests.browser.page_stand_in import STATIC, StandIn

HOSTILE = '<img src=x onerror="window.__pwned=1"><script>window.__pwned=1</script>'
BIDI = "safe\u202egnp.exe\u2066\x00\x07\x1b[2J\u200b\ud800'\"&amp;"


def test_nothing_is_ever_read_as_html_and_nothing_comes_from_elsewhere() -> None:
    for path in STATIC.iterdir():
        text = path.read_text()
        for word in (
            "innerHTML",
            "outerHTML",
            "insertAdjacentHTML",
            "document.write",
            "eval(",
            "new Function",
            "DOMParser",
        ):
            assert word not in text, (path.name, word)
        if path.suffix != ".svg":
            assert not re.search(r"""(?:https?:)?//[a-z]""", text.replace("http://www.w3.org/2000/svg", "")), path.name
        if path.suffix == ".html":
            assert not re.search(r"""\s(?:style|on[a-z]+)=""", text), path.name
        assert len(text.splitlines()) < 300, path.name


def test_hostile_texts_are_inert(opened: Any) -> None:
    everything = [HOSTILE, BIDI, "x" * 5000, "\u0301" * 400, "a/b?c#d%2e%2e", "__proto__", "constructor"]
    rows = [
        device(
            name, version=name, broker=name, tls=[name, name], reconnects={name: 2},
            readings=[reading(name, name, name, name), reading(HOSTILE, BIDI, HOSTILE, BIDI)],
            trouble=trouble(name, name, name, name), errors=[trouble(BIDI, name, HOSTILE, name, 1.0)],
        )
        for name in everything
    ]  # fmt: skip
    with StandIn(rows, broker=HOSTILE) as stand_in:
        stand_in.details = {
            r["id"]: r
            | {
                "facts": {r["id"]: r["id"], "a": HOSTILE},
                "events": [{"time": 5, "kind": HOSTILE, "text": BIDI}],
                "bluetooth": [{"sensor": HOSTILE, "address": BIDI, "rssi": HOSTILE, "time": HOSTILE}],
            }
            for r in rows
        }
        stand_in.past = [{"time": time.time(), "kind": HOSTILE, "text": HOSTILE}, [1, BIDI, HOSTILE], None, 7]
        for width in (320, 1280):
            page = opened(stand_in, viewport={"width": width, "height": 900})
            expect(page.locator("#rows .row")).to_have_count(len(everything))
            assert page.evaluate("document.documentElement.scrollWidth") == width
            assert page.locator("#rows").locator("img, script, b").count() == 0
            shown = names(page)
            assert HOSTILE[:40] in "".join(shown)
            assert any("safe‹U+202E›gnp.exe‹U+2066›‹U+0000›‹U+0007›" in name for name in shown)
            assert max(map(len, shown)) <= 64
            long = page.get_by_role("link", name="xxxxxxxx").locator("bdi")
            assert (long.get_attribute("title") or "").startswith("x" * 1000)
            assert not any(
                character in "".join(page.locator("body").all_inner_texts())
                for character in "\u202e\u2066\x00\x07\x1b\u200b"
            )
            for i, name in enumerate(everything if width == 320 else []):
                page.locator("#rows .device-name").nth(
                    [n[:7] for n in shown].index(
                        page.evaluate("async (name) => (await import('/static/dom.js')).visible(name)", name)[:7]
                    )
                ).click()
                heading = page.get_by_role("heading", level=1)
                expect(heading).to_be_visible()
                expect(page.locator("#connection-heading")).to_be_visible()
                assert stand_in.asked.get(timeout=5)["device"] == name.replace("\ud800", "\ufffd"), i
                assert page.evaluate("document.documentElement.scrollWidth") == width
                assert page.locator("#device").locator("img, script").count() == 0
                page.keyboard.press("Escape")
                expect(page.locator("#rows")).to_be_visible()
                stand_in.asked.get(timeout=5)


def test_addresses_that_cannot_be_read_show_the_list(opened: Any) -> None:
    with StandIn([device("a")]) as stand_in:
        page = opened(stand_in, "#/device/%E0%A4%A")
        expect(row(page, "a")).to_be_visible()
        for fragment in ("#/device/", "#<img src=x onerror=window.__pwned=1>", "#token=secret"):
            page.goto(stand_in.url + "#/device/a")
            expect(page.get_by_role("heading", level=1, name="a")).to_be_visible()
            page.goto(stand_in.url + fragment)
            expect(row(page, "a")).to_be_visible()
        assert page.url == stand_in.url
        page.goto(stand_in.url + "#/device/nobody")
        expect(page.get_by_text("No device of this name has been heard.")).to_be_visible()


@pytest.mark.parametrize("junk", [None, 7, "text", {}])
def test_null_and_other_types_everywhere(opened: Any, junk: Any) -> None:
    good = device("good")
    odd = [
        {key: junk for key in good} | {"id": "odd"},
        {"id": "bare"},
        {"id": junk},
        junk,
        device("sensors", readings=[junk, {}, {key: junk for key in reading()}]),
    ]
    detail = {key: junk for key in [*good, "facts", "events", "bluetooth"]} | {"id": "odd"}
    with StandIn([good, *odd]) as stand_in:
        stand_in.details = {"odd": detail}
        stand_in.past = junk
        page = opened(stand_in)
        for name in ("good", "odd", "bare", "sensors"):
            expect(row(page, name)).to_be_visible()
        for message in (
            {"type": "devices", "rows": junk, "totals": junk, "now": junk},
            {"type": junk},
            junk,
            {"type": "broker", "connected": junk},
        ):
            stand_in.say(message)
        for text in (
            "{",
            '{"type": "constructor"}',
            '{"type": "device"}',
            '{"type": "devices", "rows": [{"id": "good", "rssi": 1e999}]}',
        ):
            stand_in.say(text)
        row(page, "odd").get_by_role("link").click()
        expect(page.get_by_role("heading", level=1, name="odd")).to_be_visible()
        expect(page.locator("#connection-heading")).to_be_visible()
        page.keyboard.press("Escape")
        stand_in.change(device("good", rssi=-33))
        expect(row(page, "good")).to_contain_text("−33 dBm")
