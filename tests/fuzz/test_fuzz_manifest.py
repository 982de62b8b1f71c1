"""A signed list of any content, as a careless or stolen signer could make it: our own error, or a list that is safe."""

import json
import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rootlet import manifest
from rootlet.errors import RootletError

EXAMPLES = int(os.environ.get("ROOTLET_FUZZ_EXAMPLES", "2000"))
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))

DIGEST = "0123456789abcdef" * 4
GOOD = {
    "format": 1, "version": 7, "name": "0.1.0", "board": ["pico_w"], "made": 1795239001, "mpy": "6.3",
    "downgrade": False, "files": {"rootlet/gateway.mpy": [10, DIGEST], "board.json": [0, DIGEST]},
}  # fmt: skip

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(),
    st.text(max_size=12),
    st.sampled_from(["pico_w", "6.3", DIGEST]),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=8), inner, max_size=4)),
)
parts = st.one_of(
    st.sampled_from(["..", ".", "", "state", "former", "complete", "tried", "rootlet", "a"]), st.text(max_size=6)
)
names = st.lists(parts, min_size=1, max_size=4).map("/".join)
rows = st.one_of(st.just([1, DIGEST]), st.lists(values, max_size=3), values)


def use(text: bytes) -> None:
    try:
        data = manifest.checked(text)
    except RootletError as e:
        assert e.code == "UPDATE_MANIFEST"
        assert len(e.fact) < 120
        return
    assert 0 < len(data["files"]) <= 128
    for name, (size, digest) in data["files"].items():
        assert isinstance(size, int) and 0 <= size <= 1 << 20
        assert len(digest) == 64 and int(digest, 16) >= 0
        levels = name.split("/")
        assert len(levels) <= 2 and name.isascii() and not any(level.startswith(".") or not level for level in levels)
        assert levels[0] not in ("state", "former", "complete", "complete.new", "tried", "starts")
    try:
        manifest.allow(data, "pico_w", 2822, 6, None, False)
        assert data["version"] > 6 and "pico_w" in data["board"] and data["mpy"] == "6.3"
    except RootletError as e:
        assert e.code == "UPDATE_REFUSED"


@fuzz
@given(st.binary(max_size=300))
def test_any_bytes(data):
    use(data)
    use(b"{" + data)


@fuzz
@given(values)
def test_any_json(value):
    use(json.dumps(value).encode())


@fuzz
@given(
    st.dictionaries(st.sampled_from(sorted(GOOD)), values, max_size=3),
    st.sets(st.sampled_from(sorted(GOOD)), max_size=1),
)
def test_a_good_one_with_other_fields(changes, gone):
    data = {name: value for name, value in {**GOOD, **changes}.items() if name not in gone}
    use(json.dumps(data).encode())


@fuzz
@given(st.dictionaries(names, rows, max_size=5))
def test_any_names_and_rows(files):
    use(json.dumps({**GOOD, "files": files}).encode())


@fuzz
@given(st.data())
def test_a_good_one_with_bytes_changed(data):
    text = bytearray(json.dumps(GOOD).encode())
    for _ in range(data.draw(st.integers(1, 4))):
        text[data.draw(st.integers(0, len(text) - 1))] = data.draw(st.integers(0, 255))
    use(bytes(text))


def test_nested_deeply():
    for opening in (b"[", b'{"a":', b'{"files":{"a":['):
        for count in (100, 1000, 8192 // len(opening)):
            use(opening * count)
