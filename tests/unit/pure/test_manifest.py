"""manifest: what the signed list may say, and for which boards and versions it is."""

import json

from rootlet import manifest
from rootlet.errors import RootletError

DIGEST = "0123456789abcdef" * 4
MPY = 2822  # 6.3


def listing(**changes):
    data = {
        "format": 1,
        "version": 7,
        "name": "0.1.0",
        "board": ["pico_w", "pico_2_w"],
        "made": 1795239001,
        "mpy": "6.3",
        "downgrade": False,
        "files": {"rootlet/gateway.mpy": [10, DIGEST], "board.json": [0, DIGEST]},
    }
    data.update(changes)
    return data


def refused(text, codes=("UPDATE_MANIFEST",)):
    try:
        manifest.checked(text)
    except RootletError as e:
        assert e.code in codes
        return e.fact
    raise AssertionError(text)


def test_a_good_one():
    data = listing()
    assert manifest.checked(json.dumps(data).encode()) == data


def test_no_object():
    for text in (b"", b"{", b"[]", b"null", b"1", b'"text"', b"\xff\xfe", b"[" * 4000, b'{"a":' * 900, b"{}"):
        refused(text, ("UPDATE_MANIFEST", "MEMORY"))


def test_each_field():
    for name, values in (
        ("format", (0, 2, "1", None, [])),
        ("version", (-1, 1.5, "7", None, True, (1 << 40) + 1, [])),
        ("made", (-1, "now", None, False)),
        ("name", (None, 1, "x" * 65)),
        ("board", (None, "pico_w", {})),
        ("mpy", (None, 6.3, [])),
        ("downgrade", (None, 0, 1, "no")),
        ("files", (None, [], {}, "x")),
    ):
        for value in values:
            fact = refused(json.dumps(listing(**{name: value})).encode())
            assert fact == name, (name, value, fact)
        data = listing()
        del data[name]
        refused(json.dumps(data).encode())


def test_too_many_files():
    data = listing(files={"f%d" % i: [1, "0" * 64] for i in range(129)})
    assert refused(json.dumps(data).encode()) == "files"


def test_names():
    for name in (
        "", "/", "/main.py", "..", "../main.py", "rootlet/../../main.py", "a/b/c", "rootlet/", "/rootlet/a", "./a",
        ".a", "rootlet/.a", "a//b", "a\\b", "a b", "a\0", "a:b", "\u00e9", "x" * 49, "complete", "complete.new",
        "tried", "starts", "state", "former", "state/config.json", "former/config.json",
    ):  # fmt: skip
        fact = refused(json.dumps(listing(files={name: [1, DIGEST]})).encode())
        assert fact == name[:48]
    for name in ("a", "roots.bin", "umqtt/simple.mpy", "A-b_c.9", "x" * 48):
        manifest.checked(json.dumps(listing(files={name: [1, DIGEST]})).encode())


def test_rows():
    for row in (
        None, 1, [], [1], [1, DIGEST, 1], ["1", DIGEST], [-1, DIGEST], [1.0, DIGEST], [True, DIGEST], [1 << 21, DIGEST],
        [1, None], [1, ""], [1, DIGEST[:-1]], [1, DIGEST + "0"], [1, "A" * 64], [1, "g" * 64], [1, ["0"] * 64], {},
    ):  # fmt: skip
        assert refused(json.dumps(listing(files={"a": row})).encode()) == "a"


def allow(data, board="pico_w", mpy=MPY, running=6, failed=None, downgrade=False):
    try:
        manifest.allow(data, board, mpy, running, failed, downgrade)
        return ""
    except RootletError as e:
        assert e.code == "UPDATE_REFUSED"
        return e.fact


def test_who_may_take_it():
    assert not allow(listing())
    assert not allow(listing(), board="pico_2_w")
    assert "this is esp32" in allow(listing(), board="esp32")
    assert "this is None" in allow(listing(board=[]), board=None)
    assert "loads 5.0" in allow(listing(), mpy=5)
    assert "loads 0.0" in allow(listing(), mpy=0)


def test_versions():
    for running in (7, 8, 1 << 40):
        assert "not newer" in allow(listing(), running=running)
        assert "not newer" in allow(listing(), running=running, downgrade=True)
        assert "not newer" in allow(listing(downgrade=True), running=running)
    assert not allow(listing(downgrade=True), running=8, downgrade=True)
    assert "not newer" in allow(listing(downgrade=True), running=7, downgrade=True)
    assert "failed here" in allow(listing(), failed=7)
    assert not allow(listing(), failed=5)


def test_the_signature_comes_first():
    for data in (b"", b"\n", b"{}", b"!\n{}", b"AAAA\n{}", b"A" * 512 + b"\n" + b"[" * 8000, b"\n" * 9000):
        try:
            manifest.opened(data, b"\xff" * 384)
        except RootletError as e:
            assert e.code == "UPDATE_SIGNATURE"
        else:
            raise AssertionError
