"""update.fetch with the power cut at each change of the flash: one version runs, whole, and the next try finishes."""

import asyncio
import base64
import contextlib
import gc
import hashlib
import json
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from host_tools import mpy, update_keys
from host_tools.paths import FIRMWARE
from rootlet import kept, trees, update
from rootlet.errors import RootletError

sys.path.insert(0, str(Path(__file__).parent / "pure"))
from cut_flash import Cut, Flash

BOOT = (FIRMWARE / "boot.py").read_text().replace("import os\nimport sys\n", "").replace("gc.threshold(8192)", "")
BOOT = compile(BOOT.replace("gc.collect()", ""), "boot.py", "exec")
MPY = 2822
BOARD = {"id": "pico_w"}


class Web:
    """https.get of the files of a version."""

    def __init__(self, files, number, key):
        listing = {
            "format": 1, "version": number, "name": "x", "board": ["pico_w"], "made": number, "mpy": "6.3",
            "downgrade": False, "files": {name: row(data) for name, data in files.items()},
        }  # fmt: skip
        self.pages = {hashlib.sha256(data).hexdigest(): data for data in files.values()}
        self.pages["list"] = update_keys.sign(key, json.dumps(listing).encode())
        self.asked = []

    def get(self, url, trust, timeout_ms, max_bytes):
        name = url.rpartition("/")[2]
        self.asked.append(name)
        return Answer(self.pages[name])


class Answer:
    status = 200

    def __init__(self, data):
        self.data = data

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def __iter__(self):
        return iter([self.data[:5], self.data[5:]])

    def read(self):
        return self.data


def row(data):
    return [len(data), hashlib.sha256(data).hexdigest()]


def version(n):
    text = str(n).encode()
    files = {"rootlet/gateway.mpy": b"program " + text, "rootlet/same.mpy": b"the same", "board.json": b"board of all"}
    files["umqtt/two.mpy" if n == 2 else "other"] = b"only " + text
    return files


class Board:
    """A flash, with boot.py, trees and update as after a restart."""

    def __init__(self, folder, monkeypatch):
        self.folder = str(folder) + "/"
        self.patch = monkeypatch
        self.said = []

    def power_up(self, cut_at=None, fat=False):
        flash = Flash(self.folder, cut_at, fat)
        path = ["", "/lib"]
        implementation = SimpleNamespace(_mpy=MPY)
        fake = SimpleNamespace(path=path, implementation=implementation)
        code = {"__name__": "sent", "print": lambda *words: self.said.append(" ".join(map(str, words)))}
        code.update({"os": flash, "open": flash.open, "sys": fake})
        source = (
            (FIRMWARE / "boot.py").read_text().replace("import os\nimport sys\n", "").replace("gc.threshold(8192)", "")
        )
        exec(source, code)
        for module in (trees, update, kept):
            self.patch.setattr(module, "os", flash)
            self.patch.setattr(module, "open", flash.open, raising=False)
        for module in (trees, update):
            self.patch.setattr(module, "sys", fake)
        trees.settle()
        return flash

    @staticmethod
    def _rows(n):
        return {**version(n), "roots.bin": b"roots of this board"}

    def place(self, tree, n, number, tried=True):
        """A version as a deployment by cable leaves it."""
        place = Path(self.folder) / f"app_{tree}"
        for name, data in self._rows(n).items():
            (place / name).parent.mkdir(parents=True, exist_ok=True)
            (place / name).write_bytes(data)
        for name in ("state", "former"):
            (place / name).mkdir(exist_ok=True)
        files = {name: row(data) for name, data in self._rows(n).items()}
        (place / "complete").write_text(json.dumps({"made": number, "version": number, "files": files, "state": {}}))
        if tried:
            (place / "tried").write_text("ok\n")

    def runs(self):
        """(version, its number); every file is looked at."""
        self.power_up()
        tree = Path(self.folder + trees.current())
        n = int((tree / "rootlet/gateway.mpy").read_bytes().split()[1])
        for name, data in self._rows(n).items():
            assert (tree / name).read_bytes() == data, name
        return n, trees.version()


@pytest.fixture(scope="module")
def key():
    from cryptography.hazmat.primitives.asymmetric import rsa

    return rsa.generate_private_key(65537, 3072)


def fetch(board, web, monkeypatch):
    monkeypatch.setattr(update, "https", web)
    trust = SimpleNamespace(with_pins=lambda _: None)
    settings = {"update": {"key": "update.pub", "pins": None, "downgrade": False}}
    return asyncio.run(update.fetch("https://h/list", trust, settings, BOARD, lambda *_: None))


def prepare(board, key, case):
    for path in sorted(Path(board.folder).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    Path(board.folder, "update.pub").write_bytes(update_keys.modulus(key))
    Path(board.folder, "app").write_text("a\n")
    board.place("a", 1, 100)
    if case == "a former version":
        board.place("b", 2, 90)
        Path(board.folder, "app_b", "rootlet", "gone.mpy").write_text("x")
    if case == "half a deployment":
        board.place("b", 2, 90, tried=False)
        Path(board.folder, "app_b", "complete").unlink()
        Path(board.folder, "app_b", "state", "config.json").write_text("not of this version")
        Path(board.folder, "app_b", "complete.new").write_text("{")
    if case == "one that failed":
        board.place("b", 2, 200, tried=False)
        Path(board.folder, "app_b", "starts").write_text("...")
        Path(board.folder, "app").write_text("b\n")


@pytest.mark.parametrize("case", ["empty", "a former version", "half a deployment", "one that failed"])
@pytest.mark.parametrize("fat", [False, True])
def test_cut_at_every_change(tmp_path, monkeypatch, key, case, fat):
    board = Board(tmp_path, monkeypatch)
    seen = set()
    web = Web(version(3), 300, key)
    monkeypatch.setattr(gc, "collect", lambda: 0)  # of this whole process it takes long
    for cut_at in range(1, 200):
        prepare(board, key, case)
        flash = board.power_up(cut_at, fat)
        assert trees.current() == "/app_a"
        ended = False
        with contextlib.suppress(Cut):
            assert fetch(board, web, monkeypatch) == 300
            ended = flash.changes < cut_at
        found = board.runs()
        assert found in ((1, 100), (3, 300)), (cut_at, found)
        seen.add(found)
        assert not Path(board.folder, "config.json").exists()
        if ended:
            assert found == (3, 300)
            assert "roots of this board" in (tmp_path / "app_b" / "roots.bin").read_text()
            break
        if found == (1, 100):
            board.power_up(None, fat)
            before = len(web.asked)
            assert fetch(board, web, monkeypatch) == 300
            # What is the same in both versions never comes over the wire.
            assert hashlib.sha256(b"the same").hexdigest() not in web.asked and len(web.asked) > before
            assert board.runs() == (3, 300), cut_at
    else:
        raise AssertionError("no end")
    assert seen == {(1, 100), (3, 300)}


def test_what_is_not_asked_for_twice(tmp_path, monkeypatch, key):
    board = Board(tmp_path, monkeypatch)
    prepare(board, key, "one that failed")
    board.power_up()
    assert trees.rolled_back() == 200
    web = Web(version(2), 200, key)
    with pytest.raises(RootletError) as e:
        fetch(board, web, monkeypatch)
    assert e.value.code == "UPDATE_REFUSED" and "failed here" in e.value.fact
    assert (tmp_path / "app_b" / "complete").exists()


def test_the_number_of_a_version(tmp_path, monkeypatch, key):
    board = Board(tmp_path, monkeypatch)
    prepare(board, key, "empty")
    board.power_up()
    for text, number in (
        ('{"made":5,"version":7,"files":{}}', 7),
        ('{"made": 5, "version": 7, "files": {}}', 7),
        ('{"made":5,"files":{"x":[1,"00"]},"state":{}}', 5),
        ('{"made":5,"files":{"version":[1,"00"]},"state":{}}', 5),
        ('{"files":{}}', None),
        ("", None),
        ("\x00\xff", None),
    ):
        (tmp_path / "app_a" / "complete").write_bytes(text.encode("latin-1"))
        assert trees.version() == number, text
    (tmp_path / "app_a" / "complete").unlink()
    assert trees.version() is None and trees.trial() is False


def test_signature_first_then_nothing_else(tmp_path, monkeypatch, key):
    board = Board(tmp_path, monkeypatch)
    prepare(board, key, "a former version")
    board.power_up()
    web = Web(version(3), 300, key)
    web.pages["list"] = base64.b64encode(bytes(384)) + b"\n" + web.pages["list"].partition(b"\n")[2]
    looked = []
    from rootlet import manifest

    monkeypatch.setattr(manifest, "checked", looked.append)
    with pytest.raises(RootletError) as e:
        fetch(board, web, monkeypatch)
    assert e.value.code == "UPDATE_SIGNATURE" and not looked
    assert board.runs() == (1, 100) and (tmp_path / "app_b" / "complete").exists()
    assert mpy.newest()
