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

from host_tools import deploy, mpy, publish_update, update_keys
from host_tools.failure import Failure
from host_tools.servers import _TlsServer
from host_tools.sim.board import VirtualBoard
from tests.board.test_deploy_atomic import PARTS, PATIENT, Site, install, restarted

CUTS = int(os.environ.get("ROOTLET_UPDATE_CUTS", "3"))


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
update.FILE_MS = %d
t = trust.load(s["trust"], lambda: %d, None, s["roots"])
log = lambda topic, text: print("%%s: %%s" %% (topic, text))
async def work():
    wlan = wifi.start(s["wifi"], board.load())
    if wifi.address(wlan) is None:
        await wifi.join(wlan, s["wifi"], board.load())
    return await update.fetch(%r, t, s, board.load(), log)
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

    def fetch(self, board: VirtualBoard, name: str, again: bool = False, file_ms: int = 20000, **options: Any) -> str:
        del self.files.asked[:]
        code = CODE % (options, file_ms, int(time.time()), self.url(name) + ("#again" if again else ""))
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
        assert site.state(board) == f"{site.base} True None"  # mpremote has restarted it
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


def test_cut_off_at_every_file_and_gone_on_with(site: Updates) -> None:
    """One file a try: what is whole is not fetched again, and until the last the former version starts."""
    with site.board() as board:
        one = begin(site, board)
        two = site.same()
        name = site.publish(two, site.base)
        manifest = (site.web / name).stat().st_size
        sizes = {path.name: path.stat().st_size for path in site.web.iterdir()}
        seen: list[str] = []
        for _ in range(PARTS + 3):
            # Enough for the list and the next file, and for half of the one after it.
            wanted = [row[1] for _, row in sorted(listing(site.web / name).items())]
            missing = [digest for digest in wanted if digest in changed(site, one, two) and digest not in seen]
            site.files.left = (
                manifest + sum(sizes[digest] for digest in missing[:1]) + (sizes[missing[1]] // 2 if missing[1:] else 0)
            )
            said = site.fetch(board, name)
            assert not set(seen) & set(site.files.asked)
            seen += missing[:1]
            if not missing[1:]:
                break
            assert said.startswith(("HTTP_TRUNCATED", "UPDATE_FILE")), said
            assert not (site.flash / "app_b" / "complete").exists()
            assert (site.flash / "app").read_text() == "a\n"
        assert said == str(site.base) and len(seen) == PARTS + 1
        site.files.left = None
        site.works(board, two, "app_b")


def listing(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(path.read_bytes().partition(b"\n")[2])["files"]
    return found


def changed(site: Updates, old: Path, new: Path) -> set[str]:
    """The digests of the files of a version that the former one has not under the same name."""
    found = set()
    for path in new.rglob("*"):
        other = old / path.relative_to(new)
        if path.is_file() and not (other.is_file() and other.read_bytes() == path.read_bytes()):
            found.add(hashlib.sha256(path.read_bytes()).hexdigest())
    return found


@pytest.mark.timeout(60 + 20 * CUTS)
def test_cut_off_at_random_bytes_and_moments(site: Updates) -> None:
    """The server closes or stalls after any byte; the board loses its power at any moment."""
    seed = random.SystemRandom().randrange(1 << 32)
    chance = random.Random(seed)
    board = site.board().start()
    try:
        old = begin(site, board)
        for i in range(CUTS):
            new = site.same()
            name = site.publish(new, site.base + i)
            total = (site.web / name).stat().st_size + sum(
                (site.web / digest).stat().st_size for digest in changed(site, old, new)
            )
            where = f"seed {seed}, cut {i}"
            running = (site.flash / "app").read_text()
            if i % 3 == 2:
                site.files.left = None
                site.files.serving.clear()
                thread = threading.Thread(target=quiet, args=(site, board, name))
                thread.start()
                assert site.files.serving.wait(20)
                time.sleep(chance.uniform(0, 0.6))
                board.stop()  # kill -9 of the interpreter
                thread.join(60)
                board = site.board().start()
            else:
                site.files.left, site.files.stall = chance.randrange(total), i % 3 == 1
                said = site.fetch(board, name, file_ms=1500)
                assert said.split()[0] in ("HTTP_TRUNCATED", "HTTP_TIMEOUT", "NET_CLOSED"), (said, where)
                assert (site.flash / "app").read_text() == running
                site.works(board, old, f"app_{running.strip()}")
            site.files.left = None
            if (site.flash / "app").read_text() == running:
                assert site.fetch(board, name) == str(site.base + i), where
            site.works(board, new, "app_b" if running == "a\n" else "app_a")
            old = new
    finally:
        board.stop()


def quiet(site: Updates, board: VirtualBoard, name: str) -> None:
    with contextlib.suppress(Failure, StopIteration, OSError):
        site.fetch(board, name)


def test_what_must_be_refused(site: Updates) -> None:
    """Each leaves the version that runs as it is, and its refuge too where nothing was to be fetched."""
    with site.board() as board:
        one = begin(site, board)
        two = site.same()
        other = update_keys.load(update_keys.new(site.folder / "other")[0].parent)
        name = site.publish(two, site.base)
        good = (site.web / name).read_bytes()

        def put(data: bytes) -> str:
            (site.web / "changed.signed").write_bytes(data)
            return "changed.signed"

        signature, _, text = good.partition(b"\n")
        for data in (
            b"", text, b"\n" + text, signature + b"\n", good + b" ", good[:-1], good.replace(b"false", b"true"),
            update_keys.sign(other, text), b"<html>please log in</html>", signature[:-8] + b"AAAAAAA=\n" + text,
        ):  # fmt: skip
            assert site.fetch(board, put(data)).startswith("UPDATE_SIGNATURE"), data[:80]
        for data in (
            bytes(9000),
            update_keys.sign(site.key, b" " * 9000),
            update_keys.sign(site.key, text + b" " * 8192),
        ):
            assert site.fetch(board, put(data)).startswith("HTTP_TOO_LARGE")
        assert site.fetch(board, "absent").startswith("UPDATE_FILE status 404")
        assert site.fetch(board, put(update_keys.sign(site.key, b"[]"))).startswith("UPDATE_MANIFEST")
        for changes, fact in (
            ({"boards": ["esp32"]}, "it is for esp32, this is pico_w"),
            ({"abi": "5.0"}, "its .mpy files are 5.0"),
        ):
            assert fact in site.fetch(board, site.publish(two, site.base, **changes))
        old = site.publish(two, 1000)
        assert "not newer" in site.fetch(board, old)
        assert "not newer" in site.fetch(board, old, downgrade=True)
        down = site.publish(two, 1000, downgrade=True)
        assert "not newer" in site.fetch(board, down)
        name = site.publish(two, site.base)
        assert site.fetch(board, name, key=None).startswith("UPDATE_OFF update.key is not set")
        assert site.fetch(board, name, key="absent").startswith("UPDATE_OFF no file")
        pin = "sha256//" + "A" * 43 + "="
        assert site.fetch(board, name, pins=[pin]).startswith("CERT_PIN")
        assert not (site.flash / "app_b").exists()
        # A file that the web server has changed, and one that it has not; of the same size, shorter and longer.
        digest = listing(site.web / name)["rootlet/part3.py"][1]
        whole = (site.web / digest).read_bytes()
        for data, code in (
            (b"X" + whole[1:], "UPDATE_FILE"),
            (whole[:-1], "UPDATE_FILE"),
            (whole + b"#", "HTTP_TOO_LARGE"),
        ):
            (site.web / digest).write_bytes(data)
            assert site.fetch(board, name).startswith(code)
            assert not (site.flash / "app_b" / "complete").exists()
        site.works(board, one, "app_a")
        # Allowed twice, by the signer and by the board: an older version.
        (site.web / digest).write_bytes(whole)
        assert site.fetch(board, down, downgrade=True) == "1000"
        site.works(board, two, "app_b")
        assert site.state(board) == "1000 False None"


def test_a_flash_too_small(site: Updates) -> None:
    with site.board() as board:
        begin(site, board)
        two = site.same()
        (two / "roots.bin").write_bytes(bytes(900_000))
        assert "bytes are needed" in site.fetch(board, site.publish(two, site.base))
        assert not (site.flash / "app_b").exists()


def test_a_version_that_crashes_goes_back_and_is_not_taken_again(site: Updates) -> None:
    with site.board() as board:
        one = begin(site, board)
        bad = site.same()
        (bad / "rootlet" / "gateway.mpy").unlink()
        (bad / "rootlet" / "gateway.py").write_text("raise ValueError('a mistake')\n")
        name = site.publish(bad, site.base)
        at = board.position
        assert site.fetch(board, name) == str(site.base)
        board.reset()
        board.wait_for("boot: app_b does not connect; going back", 30, at)
        board.wait_for("mqtt: first reading published", 30, at)
        assert site.matches("app_a", one)
        assert site.state(board).split()[1:] == ["False", str(site.base)]
        assert "has failed here before" in site.fetch(board, name)
        assert site.fetch(board, name, again=True) == str(site.base)
        assert site.fetch(board, name) == "UPDATE_REFUSED app_b is on trial itself"
        at = board.position
        board.reset()
        board.wait_for("boot: app_b does not connect; going back", 30, at)
        board.wait_for("mqtt: first reading published", 30, at)
        good = site.same()
        assert site.fetch(board, site.publish(good, site.base + 1)) == str(site.base + 1)
        site.works(board, good, "app_b")
        assert site.state(board) == f"{site.base + 1} False None"
