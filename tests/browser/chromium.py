"""A real Chromium that trusts one CA by `rootlet ca trust`; nothing about certificates is overridden."""

import contextlib
import functools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tools.paths import BUILD
from tests.running import environment

SCREENSHOTS = BUILD / "screenshots"
_HERE = Path(__file__).parent
_AXE = BUILD / "browser" / "node_modules" / "axe-core" / "axe.min.js"
_NPM_TIMEOUT_S = 60
_ARGUMENTS = [
    "--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-proxy-server",
]  # fmt: skip
_RULES = ["wcag2a", "wcag2aa", "wcag21aa", "best-practice"]


def program() -> str:
    """Chromium. Skips the test where something it needs is absent, and says what."""
    pytest.importorskip("playwright", reason="playwright is not installed (the extra `dev`)")
    found = next(filter(None, (shutil.which(name) for name in ("chromium", "chromium-browser", "google-chrome"))), None)
    if found is None:
        pytest.skip("Chromium is not installed (apt-get install chromium)")
    if not shutil.which("certutil"):
        pytest.skip("certutil is not installed (apt-get install libnss3-tools)")
    return found


@contextlib.contextmanager
def chromium(*trusted: Path) -> Iterator[Any]:
    """A browser in a home of its own that trusts the CAs of these PEM files, put there by `rootlet ca trust`.

    Yields playwright's Browser: each new_context() is a person of its own, with no cookies.
    """
    executable = program()
    from playwright.sync_api import sync_playwright

    with tempfile.TemporaryDirectory(prefix="rootlet-home-", ignore_cleanup_errors=True) as home:
        for ca in trusted:
            line = ["ca", "trust", "--ca", str(ca), "--install", "--yes", "--nss", f"{home}/.pki/nssdb"]
            subprocess.run(
                [sys.executable, "-m", "host_tools", *line],
                check=True, capture_output=True, stdin=subprocess.DEVNULL, timeout=60, env=environment(),
            )  # fmt: skip
        kept = {name: os.environ[name] for name in ("PATH", "LANG", "TZ") if name in os.environ}
        with sync_playwright() as playwright:
            browser = playwright.chromium.launch(
                executable_path=executable, args=_ARGUMENTS, env={**kept, "HOME": home}, timeout=30_000
            )
            try:
                yield browser
            finally:
                browser.close()


class Watched:
    """Notes what goes wrong in a page: console errors, exceptions, requests that fail, certificates, and all URLs."""

    def __init__(self, page: Any) -> None:
        self.errors: list[str] = []
        self.urls: list[str] = []
        self.frames: list[tuple[str, int]] = []  # what the WebSocket brought: type and length
        page.on("console", self._console)
        page.on("pageerror", lambda error: self.errors.append(f"exception: {error}"))
        page.on("requestfailed", self._failed)
        page.on("request", lambda request: self.urls.append(request.url))
        page.on("dialog", self._dialog)
        page.on("websocket", self._websocket)

    def _console(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.type}: {message.text} {message.location.get('url', '')}")

    def _failed(self, request: Any) -> None:
        # Given up by the page itself: it went elsewhere, or does not follow a redirect.
        if request.failure != "net::ERR_ABORTED":
            self.errors.append(f"failed: {request.url} {request.failure}")

    def _dialog(self, dialog: Any) -> None:
        self.errors.append(f"dialog: {dialog.message}")
        dialog.dismiss()

    def _websocket(self, socket: Any) -> None:
        self.urls.append(socket.url)
        socket.on("framereceived", lambda data: self.frames.append((json.loads(data)["type"], len(data))))

    def allow(self, *texts: str) -> None:
        """Forget the errors that hold one of these texts; at least one must be there for each."""
        for text in texts:
            assert any(text in error for error in self.errors), (text, self.errors)
        self.errors = [error for error in self.errors if not any(text in error for text in texts)]

    def clean(self) -> None:
        """Nothing went wrong."""
        assert not self.errors, self.errors[:10]


@contextlib.contextmanager
def page_of(browser: Any, **options: Any) -> Iterator[tuple[Any, Watched]]:
    """A page of a new person, and what is noted about it. options: of new_context, such as color_scheme."""
    assert "ignore_https_errors" not in options
    context = browser.new_context(**options)
    context.set_default_timeout(10_000)
    try:
        page = context.new_page()
        yield page, Watched(page)
    finally:
        context.close()


def screenshot(page: Any, name: str) -> Path:
    """The page as PNG in build/screenshots."""
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    path = SCREENSHOTS / f"{name}.png"
    page.screenshot(path=str(path), full_page=True)
    return path


@functools.cache
def axe_source() -> str:
    """The source of axe-core, installed by npm from the lock file. Skips where that cannot be done."""
    if not _AXE.exists():
        if not shutil.which("npm"):
            pytest.skip("axe-core needs npm (apt-get install npm)")
        folder = BUILD / "browser"
        folder.mkdir(parents=True, exist_ok=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(_HERE / name, folder)
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
        try:
            done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=_NPM_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            pytest.skip(f"npm ci did not end within {_NPM_TIMEOUT_S} s")
        if done.returncode or not _AXE.exists():
            pytest.skip(f"npm ci failed: {done.stderr.strip()[-200:]}")
    return _AXE.read_text(encoding="utf-8")


def axe(page: Any, *impacts: str) -> list[str]:
    """Violations of WCAG 2.1 AA and of good practice in the page as it is, one line each.

    impacts: only these of minor, moderate, serious, critical.
    """
    # By the debugging protocol, which a content security policy does not bind.
    page.evaluate(axe_source())
    found = page.evaluate(f"axe.run({{runOnly: {json.dumps(_RULES)}, resultTypes: ['violations']}})")
    return [
        f"{one['impact']} {one['id']}: {one['help']} at {[node['target'] for node in one['nodes'][:4]]}"
        for one in found["violations"]
        if not impacts or one["impact"] in impacts
    ]
