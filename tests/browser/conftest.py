"""A Chromium for the tests of the page alone, and what they share. Skips where a program is absent, and says which."""

import re
import shutil
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

    from tests.browser.page_stand_in import StandIn

_ARGUMENTS = [
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
]  # fmt: skip
_LONG_TASKS = """
window.longTasks = [];
new PerformanceObserver((seen) => window.longTasks.push(...seen.getEntries().map((e) => e.duration)))
  .observe({ type: "longtask", buffered: true });
"""


@pytest.fixture(scope="module")
def browser() -> "Iterator[Browser]":
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (the extra `dev`)")
    pytest.importorskip("starlette", reason="starlette is not installed (the extra `dashboard`)")
    found = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if not found:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=found, args=_ARGUMENTS)
        yield started
        started.close()


class Watched:
    """A page, and what its console has said."""

    def __init__(self, browser: "Browser", url: str, **context: Any) -> None:
        self.context = browser.new_context(**({"viewport": {"width": 1280, "height": 900}} | context))
        self.page = self.context.new_page()
        self.page.set_default_timeout(10000)
        self.errors: list[str] = []
        self.page.on("console", lambda said: self.errors.append(said.text) if said.type == "error" else None)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.add_init_script(_LONG_TASKS)
        self.page.goto(url)


@pytest.fixture
def opened(browser: "Browser") -> Iterator[Any]:
    """opened(stand_in, fragment, expected=…): a page, whose console must stay empty but for what is expected."""
    pages: list[tuple[Watched, str]] = []

    def start(stand_in: "StandIn", fragment: str = "", expected: str = "^$", **context: Any) -> "Page":
        pages.append((Watched(browser, stand_in.url + fragment, **context), expected))
        return pages[-1][0].page

    yield start
    for watched, expected in pages:
        pwned = watched.page.evaluate("window.__pwned")
        watched.context.close()
        assert pwned is None
        assert [
            error for error in watched.errors if not re.search(f"{expected}|ERR_CONNECTION_REFUSED", error)
        ] == []  # the server ends first
