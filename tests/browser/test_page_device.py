"""A device's page, its chart, and what happens when server, broker or session go."""

import re
import time
from typing import Any

import pytest

pytest.importorskip("playwright", reason="playwright is not installed (the extra `dev`)")
pytest.importorskip("starlette", reason="starlette is not installed (the extra `dashboard`)")

from playwright.sync_api import expect

from tests.browser.made_up import detailed, device
from tests.browser.on_the_page import OBSERVE, points, row
from tests.browser.page_stand_in import StandIn


def test_a_device_in_full(opened: Any) -> None:
    name = "d/1 ?&é"
    with StandIn([device(name)]) as stand_in:
        stand_in.details = {name: detailed(device(name))}
        stand_in.past = [{"time": time.time() - 86400 * 3, "kind": "rolled_back", "text": "version 7 did not work"}]
        page = opened(stand_in)
        row(page, name).get_by_role("link").click()
        body = page.locator("#device")
        for text in (
            "a certificate of the server has expired", "What to do: renew it on the server", "Observed: 'home': no_ap",
            "TLSv1.2", "AES-128-GCM", "1,480 ms", "301 days left", "MQTT_CLOSED", "Started because of", "power",
            "TLS_CLOSED: broker.home closed it", "c8:25:2d:8e:9c:2c", "−88 dBm, weak",
            "1234567.8 m³", "rolled back", "version 7 did not work",
        ):  # fmt: skip
            expect(body).to_contain_text(text)
        times = page.locator(".events time").evaluate_all("all => all.map((one) => one.dateTime)")
        assert len(times) == 5
        assert times == sorted(times, reverse=True)
        expect(page.locator(".reading-card")).to_have_count(3)
        assert len(points(page.locator(".reading-card").first)) == 120

        chart = page.get_by_role("img", name="porch temperature over time")
        expect(chart).to_be_visible()
        expect(chart.locator("polygon.band")).to_have_count(2)  # the gap breaks it
        expect(page.locator("#chart-summary")).to_contain_text(
            re.compile(
                r"The last hour, \d+ points, each for all values of its stretch of time: "
                r"least [\d.]+ °C \(about .*most .*mean .*last"
            )
        )
        labels = chart.locator("text").all_text_contents()
        assert len(labels) > 8
        assert all(re.fullmatch(r"°C|\d\d:\d\d|[−\d.]+", label) for label in labels)
        page.get_by_role("radio", name="the last 30 days").check()
        expect(page.locator("#chart-summary")).to_contain_text("The last 30 days")
        assert any(re.fullmatch(r"\d+ \w{3,4}", label) for label in chart.locator("text").all_text_contents())
        page.get_by_text("As a table").click()
        line = page.get_by_role("table", name="porch temperature").get_by_role(
            "row", name=re.compile(r"\d\d:\d\d:\d\d [\d.]+ [\d.]+ [\d.]+$")
        )
        expect(line.first).to_be_visible()
        assert line.count() > 200
        chart.hover()
        expect(page.locator(".readout")).to_contain_text("°C (")
        asked = [line for line in stand_in.requests if "/api/series" in line]
        assert asked[0].endswith("device=d%2F1+%3F%26%C3%A9&sensor=porch&quantity=temperature&hours=1")
        assert asked[-1].endswith("hours=720")
        page.get_by_role("button", name="Chart of flow volume").click()
        expect(page.get_by_role("heading", name="flow volume over time")).to_be_visible()
        # What comes meanwhile: the newest event on top, the values in their places, the focus where it was.
        later = detailed(device(name, rssi=-44))
        later["events"].insert(0, {"time": time.time(), "kind": "version", "text": "0.9 → 1.0"})
        stand_in.say({"type": "device", "device": later})
        expect(page.locator(".events li").first).to_contain_text("0.9 → 1.0")
        expect(body).to_contain_text("−44 dBm, good")
        expect(page.get_by_role("button", name="Chart of flow volume")).to_be_focused()
        stand_in.say({"type": "device", "device": detailed(device("another", version="9.9.9"))})
        stand_in.say({"type": "device", "device": detailed(device(name, version="1.0.0"))})
        expect(body).to_contain_text("1.0.0")
        expect(body).not_to_contain_text("9.9.9")


def test_what_is_of_the_last_status_says_so_and_nothing_is_said_twice(opened: Any) -> None:
    with StandIn([device("a")]) as stand_in:
        away = detailed(device("a", status="offline", outbox={"depth": 2, "dropped": 0}))
        stand_in.details = {"a": away}
        page = opened(stand_in, "#/device/a")
        body = page.locator("#device")
        for text in (
            "Outbox at the last status",
            "no backlog",
            "Had been running for",
            "ended",
            "in the last 120 values",
        ):
            expect(body).to_contain_text(text)
        expect(page.locator(".problems li").filter(has_text="Look at its power")).to_contain_text(
            re.compile("offline Its connection to the broker has ended")
        )
        expect(body).not_to_contain_text("Running for")


def test_ticks_are_round_and_few(opened: Any) -> None:
    with StandIn([]) as stand_in:
        page = opened(stand_in, timezone_id="Europe/Paris")
        expect(page.get_by_role("heading", name="No device has been heard yet")).to_be_visible()
        expect(page.locator("#empty")).to_contain_text("rootlet deploy")
        expect(page.locator("#empty")).to_contain_text("--ca-dir ca-data")
        expect(page.locator("#empty")).not_to_contain_text("HOST:PORT")
        ticks = "async ([name, ...given]) => (await import('/static/scale.js'))[name](...given)"
        for low, high, wanted in [
            (0, 10, "0 2 4 6 8 10"),
            (20.97, 21.52, "20.8 21 21.2 21.4 21.6"),
            (-1e-7, 3e-7, None),
            (5, 5, None),
            (-1.7e308, 1.7e308, None),
            (1e15, 1e15 + 1, None),
        ]:
            found = page.evaluate(ticks, ["valueTicks", low, high, 5])
            labels = [tick["label"] for tick in found["ticks"]]
            assert 2 <= len(labels) <= 9
            assert found["low"] <= low <= high <= found["high"]
            assert wanted is None or labels == wanted.split()
        # The clocks go back on 25 October 2026 at 01:00 UTC: days still begin at midnight.
        since = 1792792800  # 24 October, 00:00 UTC
        for span, most in ((3600, 6), (86400, 8), (7 * 86400, 8), (30 * 86400, 8), (60, 2)):
            found = page.evaluate(ticks, ["timeTicks", since, since + span, most])
            assert 1 <= len(found) <= most + 1
            assert all(since <= tick["at"] <= since + span for tick in found)
            if span >= 7 * 86400:
                assert {(tick["at"] + (7200 if tick["at"] < 1792890000 else 3600)) % 86400 for tick in found} == {0}


def test_comes_back_by_itself_and_says_so(opened: Any) -> None:
    with StandIn([device("a")]) as stand_in:
        stand_in.details = {"a": device("a")}
        page = opened(stand_in, "#/device/a", expected="503|WebSocket")
        expect(page.locator("#link-text")).to_have_text("Live")
        assert stand_in.asked.get(timeout=5) == {"type": "open", "device": "a"}
        stand_in.away = True
        stand_in.drop()
        expect(page.get_by_role("status").filter(has_text="Connection lost")).to_be_visible()
        expect(page.locator("#notice")).to_contain_text("What you see is from")
        expect(page.locator("#notice")).to_contain_text("Trying again in")
        page.evaluate(OBSERVE, "#link")
        stand_in.rows = [device("a"), device("b")]
        time.sleep(1.5)  # a try or two that fail
        assert page.evaluate("window.changes") == []  # a live region does not chatter
        stand_in.away = False
        # It may have come back by itself in this moment, and the button be gone with the notice.
        page.locator("#try-now").dispatch_event("click")
        expect(page.locator("#link-text")).to_have_text("Live")
        expect(page.locator("#notice")).to_be_hidden()
        assert stand_in.asked.get(timeout=5) == {"type": "open", "device": "a"}
        page.keyboard.press("Escape")
        expect(row(page, "b")).to_be_visible()
        stand_in.say(
            {
                "type": "broker",
                "connected": False,
                "trouble": {"what": "no connection", "because": "<img src=x>", "try": "x"},
            }
        )
        expect(page.locator("#link-text")).to_have_text("Broker away")
        expect(page.locator("#notice")).to_contain_text(
            re.compile("The broker cannot be reached.*no connection; <img.*; x")
        )
        stand_in.say({"type": "broker", "connected": True})
        expect(page.locator("#link-text")).to_have_text("Live")


def test_a_session_that_ends_leads_to_the_login_and_back(opened: Any) -> None:
    with StandIn([device("a")]) as stand_in:
        stand_in.details = {"a": device("a")}
        page = opened(stand_in, "#/device/a", expected="401|WebSocket")
        expect(page.get_by_role("heading", level=1, name="a")).to_be_visible()
        assert stand_in.asked.get(timeout=5)["device"] == "a"
        stand_in.locked = True
        stand_in.drop()
        token = page.get_by_label("Token")
        expect(token).to_be_focused()
        token.fill("wrong")
        page.get_by_role("button", name="Log in").click()
        expect(page.get_by_role("status")).to_contain_text("wrong, or an old one")
        token.fill("right")
        page.keyboard.press("Enter")
        expect(page.get_by_role("heading", level=1, name="a")).to_be_visible()
        page.get_by_role("button", name="Log out").click()
        expect(page.get_by_label("Token")).to_be_visible()
        # The token of the printed address: posted, and gone from the address bar and the history.
        while not stand_in.asked.empty():
            stand_in.asked.get()
        page.goto(stand_in.url + "#token=right")
        expect(row(page, "a")).to_be_visible()
        assert stand_in.asked.get(timeout=5) == {"token": "right"}
        assert page.url == stand_in.url
        assert not any("token" in line for line in stand_in.requests)


def test_colours_are_kept(opened: Any) -> None:
    with StandIn([device("a")]) as stand_in:
        page = opened(stand_in, color_scheme="light")
        colour = "getComputedStyle(document.documentElement).backgroundColor"
        light = page.evaluate(colour)
        page.get_by_label("Colours").select_option("dark")
        dark = page.evaluate(colour)
        assert dark != light
        page.reload()
        assert page.evaluate(colour) == dark
        page.get_by_label("Colours").select_option("")
        assert page.evaluate(colour) == light
