"""Remote update on a virtual board: over real TLS, cut off everywhere, and with everything that must be refused."""

import contextlib
import hashlib
import http.server
import json
import os
import random
import shutil
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Self

import pytest

from host_tools import deploy, mpy, publish_update, trees, update_keys
from host_tools.failure import Failure
from host_tools.servers import _TlsServer
from host_tools.sim.board import VirtualBoard
from tests.board.test_deploy_atomic import PARTS, PATIENT, Site, install, restarted

CUTS = int(os.environ.get("ROOTLET_UPDATE_CUTS", "6"))


class Files:
    """An HTTPS server of a folder that can fail: after so many bytes of bodies it closes, or stalls."""

    def __init__(self, folder: Path, cert: Path, key: Path) -> None:
        outer = self
        self.asked: list[str] = []
        self.left: int | None = None
        self.stall = False
        self.serving = threading.Event()

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            timeout = 10

            def do_GET(self) -> None:
                path = folder / self.path[1:]
                body = path.read_bytes() if path.is_file() else None
                outer.asked.append(self.path[1:])
                outer.serving.set()
                self.send_response(200 if body is not None else 404)
                self.send_header("Content-Length", str(len(body or b"")))
                self.end_headers()
                for at in range(0, len(body or b""), 64):
                    piece = (body or b"")[at : at + 64]
                    if outer.left is not None:
                        if outer.left < len(piece):
                            self.wfile.write(piece[: outer.left])
                            outer.left = 0
                            if outer.stall:
                                time.sleep(3)
                            self.close_connection = True
                            raise ConnectionAbortedError
                        outer.left -= len(piece)
                    self.wfile.write(piece)

            def log_message(self, format: str, *args: object) -> None:
                pass

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        self._server = _TlsServer(("127.0.0.1", 0), Handler)
        self._server.context = context
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign]
        self.port = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


CODE = """
import asyncio, json, time
from rootlet import trees, update, config, board, trust, wifi
from rootlet.errors import RootletError
trees.settle()
s = config.load()
s["update"] = dict(s["update"], **%r)
update._FILE_MS = %d
t = trust.load(s["trust"], lambda: %d, None, s["roots"])
log = lambda topic, text: print("%%s: %%s" %% (topic, text))
async def work():
    wlan = wifi.start(s["wifi"], board.load())
    if wifi.address(wlan) is None:
        await wifi.join(wlan, s["wifi"], board.load())
    return await update.fetch(%r, t, s, board.load(), log, %r)
began = time.ticks_ms()
try:
    print("said", asyncio.run(work()))
except RootletError as e:
    print("said", e.code, e.fact)
print("took", time.ticks_diff(time.ticks_ms(), began))
"""
STATE = """
from rootlet import trees
print("state", trees.version(), trees.trial(), trees.rolled_back())
"""


class Updates(Site):
    """Site with a key for updates, a web server, and a configuration that takes them."""

    def __init__(self, folder: Path, stack: contextlib.ExitStack) -> None:
        super().__init__(folder, stack)
        update_keys.new(folder / "ca")
        self.key = update_keys.load(folder / "ca")
        self.web = folder / "web"
        self.web.mkdir()
        self.files = stack.enter_context(Files(self.web, self.server.cert_pem, self.server.key_pem))
        settings = json.loads((self.staged / "config.json").read_text())
        settings["update"] = {"key": "update.pub"}
        (self.staged / "config.json").write_text(json.dumps(settings))
        (self.staged / "update.pub").write_bytes(update_keys.public(folder / "ca"))
        self.base = int(time.time()) + 1000

    def same(self) -> Path:
        """A version whose configuration is that of the former one: remote updates carry none."""
        tree = self.version()
        (tree / "config.json").write_bytes((self.flash / "config.json").read_bytes())
        return tree

    def publish(self, tree: Path, number: int, **changes: Any) -> str:
        bare = self.folder / f"publish-{number}"
        shutil.copytree(tree, bare, ignore=shutil.ignore_patterns("trust_roots.*"), dirs_exist_ok=True)
        made = publish_update.publish(bare, changes.pop("boards", ["pico_w"]), self.web, changes.pop("key", self.key),
                                      number, abi=changes.pop("abi", mpy.newest()), **changes)  # fmt: skip
        return made.list.name

    def url(self, name: str) -> str:
        return f"https://localhost:{self.files.port}/{name}"

    def fetch(
        self, board: VirtualBoard, name: str, again: bool = False, file_ms: int = 20000, **options: Any
    ) -> str:
        del self.files.asked[:]
        code = CODE % (options, file_ms, int(time.time()), self.url(name), again)
        said = deploy._mpremote(board.port, "exec", code, timeout_s=60)
        return next(line[5:] for line in said.splitlines() if line.startswith("said "))

    def state(self, board: VirtualBoard) -> str:
        """version, whether it is on trial, what it went back from; stops the program."""
        said = deploy._mpremote(board.port, "exec", STATE)
        return next(line[6:].strip() for line in said.splitlines() if line.startswith("state "))

    def works(self, board: VirtualBoard, tree: Path, folder: str) -> None:
        """Restart; the board runs this version and connects."""
        at = restarted(board)
        assert self.runs(board, at) == folder
        board.wait_for("mqtt: first reading published", 30, at)
        assert self.matches(folder, tree)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Updates]:
    with contextlib.ExitStack() as stack:
        yield Updates(tmp_path, stack)


def begin(site: Updates, board: VirtualBoard) -> Path:
    one = site.version()
    install(board, one)
    return one


def test_from_one_version_to_the_next_and_on(site: Updates) -> None:
    with site.board() as board:
        begin(site, board)
        two = site.same()
        name = site.publish(two, site.base)
        assert site.fetch(board, name) == str(site.base)
        # What both versions have was copied on the board; trust roots are not in the list and stay.
        assert len(site.files.asked) == 1 + PARTS + 1
        assert site.state(board).endswith("False None")  # still the former one
        site.works(board, two, "app_b")
        assert site.state(board) == f"{site.base} False None"
        listing = json.loads((site.flash / "app_b" / "complete").read_text())
        assert listing["version"] == site.base and "trust_roots.mpy" in listing["files"]
        three = site.same()
        assert site.fetch(board, site.publish(three, site.base + 5)) == str(site.base + 5)
        site.works(board, three, "app_a")
        assert "not newer" in site.fetch(board, name)
        # By cable again, over it.
        four = site.same()
        install(board, four, PATIENT)
        assert site.matches("app_b", four)
