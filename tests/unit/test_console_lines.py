"""What a console says: lines, errors, tracebacks; and that no byte of it does harm or shows a secret."""

import base64
import json
import re
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from host_tools.console_lines import LONGEST, Line, Lines, Reader, source
from host_tools.masking import MASK, Masker, harmless, in_config, known
from host_tools.paths import FIRMWARE, ROOT

cuts = st.lists(st.integers(0, 400), max_size=8)

END = b"KEY-----"  # apart, so that a search for keys in the tree finds none


def pieces(data: bytes, at: list[int]) -> list[bytes]:
    places = sorted({0, len(data), *(a for a in at if a < len(data))})
    return [data[a:b] for a, b in zip(places, places[1:], strict=False)]


def read(*data: bytes, secrets: tuple[str | bytes, ...] = (), longest: int = LONGEST) -> list[Line]:
    reader = Reader(Masker(secrets), longest)
    return [line for part in data for line in reader.feed(part)] + list(reader.end())


@given(st.binary(max_size=400), cuts)
def test_lines_are_the_same_however_the_bytes_arrive(data: bytes, at: list[int]) -> None:
    def lines(parts: list[bytes]) -> list[tuple[bytes, bool]]:
        cutter = Lines(50)
        return [line for part in parts for line in cutter.feed(part)] + list(cutter.end())

    found = lines(pieces(data, at))
    assert found == lines([data])
    expected = data.split(b"\n")
    if not expected[-1]:
        expected.pop()
    assert [line for line, _ in found] == [
        e[:50].removesuffix(b"\r") if i + 1 < len(data.split(b"\n")) else e[:50].removesuffix(b"\r")
        for i, e in enumerate(expected)
    ]


@given(st.binary(max_size=300) | st.text(max_size=300).map(lambda t: t.encode("utf-8", "surrogatepass")), cuts)
@example(b"\x1b[31mred\x1b]0;x\x07\x9b2J\xc2\x9b2J\r\x08\x00\n", [])
@example(b'[1.000] error: x\n  File "rootlet/gateway.py", line 999999\nOSError: -30592\n', [3])
def test_any_bytes_become_harmless_lines(data: bytes, at: list[int]) -> None:
    for line in read(*pieces(data, at)):
        assert line.text.isprintable()
        assert len(line.text) <= LONGEST + 2
        assert line.cause.isprintable() and line.code.isprintable()


def test_a_line_that_never_ends_takes_no_memory() -> None:
    reader = Reader(Masker())
    for _ in range(2000):
        assert list(reader.feed(b"x" * 1000)) == []
    assert len(reader._lines._held) == LONGEST
    (line,) = reader.feed(b"\n")
    assert line.text == "x" * LONGEST + " …"


SECRETS = st.text(st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), min_size=8, max_size=40)


@given(SECRETS, st.text(max_size=30), st.text(max_size=30), cuts)
def test_a_known_secret_is_never_shown(secret: str, before: str, after: str, at: list[int]) -> None:
    data = (before + secret + after + "\n").encode("utf-8", "replace")
    shown = "\n".join(line.text for line in read(*pieces(data, at), secrets=(secret,)))
    if harmless(secret) not in harmless(before + after) + MASK:
        assert secret not in shown and harmless(secret) not in shown


@pytest.mark.parametrize(
    "written",
    [
        "it is correct horse\N{LATIN SMALL LETTER E WITH ACUTE}\"'!",
        json.dumps("correct horse\N{LATIN SMALL LETTER E WITH ACUTE}\"'!"),
        repr("correct horse\N{LATIN SMALL LETTER E WITH ACUTE}\"'!"),
        "correct horse\N{LATIN SMALL LETTER E WITH ACUTE}\"'!".encode().hex().upper(),
        base64.b64encode("correct horse\N{LATIN SMALL LETTER E WITH ACUTE}\"'!".encode()).decode(),
        "CORRECT HORSE\N{LATIN SMALL LETTER E WITH ACUTE}\"'!",
        "corr\x1b[1mect horse\N{LATIN SMALL LETTER E WITH ACUTE}\"'!",
    ],
)
def test_a_secret_in_other_forms(written: str) -> None:
    masker = Masker(["correct horse\N{LATIN SMALL LETTER E WITH ACUTE}\"'!"])
    shown = masker.text(harmless(f"joining with {written} now"))
    assert MASK in shown and "orse" not in shown.lower()


def test_a_short_secret_hides_no_other_words() -> None:
    assert Masker(["abc"]).text("abcd abc xabc") == f"abcd {MASK} xabc"
    assert Masker([""]).text("abc") == "abc"


@given(st.integers(1, 200))
def test_a_secret_cut_off_by_the_longest_line(room: int) -> None:
    secret = "0f1e2d3c4b5a69788796a5b4c3d2e1f0"
    text = (b"." * 100 + secret.encode() + b"." * 100)[: room + 20]
    for lines in (read(text, secrets=(secret,)), read(text + b"rest" * 50, secrets=(secret,), longest=len(text))):
        assert all(secret[:3] not in line.text for line in lines)


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("key 0f1e2d3c4b5a69788796a5b4c3d2e1f0 ok", f"key {MASK} ok"),
        ("psk: 'dGhlIHNlY3JldCBrZXkgb2YgdGhlIGJvYXJk'", f"psk: '{MASK}'"),
        ("password=hunter2, user=me", f"password={MASK}, user=me"),
        ('{"password": "a b", "ssid": "home"}', f'{{"password": "{MASK}", "ssid": "home"}}'),
        ("api_key = ABCDEFGHIJKLMNOP1234", f"api_key = {MASK}"),
        ("private key b'0f1e2d3c4b5a69788796'", f"private key b'{MASK}'"),
        # What must stay readable.
        ("WIFI_WRONG_PASSWORD: the password is wrong; 'home': wrong_password", None),
        ("error: MQTT_REFUSED: user or password; try: check mqtt.user and mqtt.password", None),
        ("CERT_PIN: another key; sha256//47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=", None),
        ("mqtt: connected to broker.home:8883, suite TLS-ECDHE-ECDSA-WITH-AES-128-GCM-SHA256", None),
        ("key exchange took 380 ms", None),
        ("the key internationalisation has no digits", None),
    ],
)
def test_what_looks_like_a_secret(line: str, shown: str | None) -> None:
    assert Masker().text(line) == (line if shown is None else shown)


def test_a_private_key_in_the_console() -> None:
    lines = read(b"a\n-----BEGIN EC PRIVATE " + END + b"\nMHcCAQEEI\nabc=\n-----END EC PRIVATE " + END + b"\nb\n")
    assert [line.text for line in lines] == ["a", MASK, MASK, MASK, MASK, "b"]
    lines = read(b"-----BEGIN PRIVATE " + END + b"\nMHcC\nMPY: soft reboot\n[   0.001] wifi: x\n")
    assert lines[-1].text == "[   0.001] wifi: x"
    assert read(b"-----BEGIN PRIVATE " + END + b"\n" + b"x\n" * 200)[-1].text == "x"


def test_the_catalogue_is_never_taken_for_a_secret() -> None:
    from host_tools.explain import board_text
    from rootlet.catalogue import CATALOGUE

    for code in CATALOGUE:
        assert Masker().text(board_text(code)) == board_text(code)


def test_secrets_of_a_configuration_and_its_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    config = {
        "wifi": {"networks": [{"ssid": "home", "password": "w1"}, {"ssid": "x", "password": "w2"}]},
        "mqtt": {"password": "m", "key": "device.key.der", "psk": "device.psk", "user": "me"},
    }
    assert list(in_config(config)) == ["w1", "w2", "m"]
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "secrets.toml").write_text('[wifi]\nhome = "w3"\n')
    (tmp_path / "device.psk").write_bytes(b"\x01\x02")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "config.json").write_text("{")
    monkeypatch.setenv("ROOTLET_CA_PASSPHRASE", "ca")
    assert known(folder=tmp_path) == ["ca", "w1", "w2", "m", b"\x01\x02", "w3"]
    assert known(folder=tmp_path / "bad") == known(folder=tmp_path / "absent") == ["ca"]


def test_an_error_is_explained() -> None:
    (line,) = read(b"[  12.345] error: TCP_REFUSED: nothing listens; 1.2.3.4:8883, error 111; try: x\r\n")
    assert (line.stamp, line.topic, line.code) == (12.345, "error", "TCP_REFUSED")
    assert line.cause.startswith("Nothing listens on that port")
    (line,) = read(b"OSError: [Errno 113] EHOSTUNREACH\n")
    assert line.code == "TCP"
    (line,) = read(b"[  12.345] wifi: TCP_REFUSED: not an error here\n")
    assert line.code == ""
    (line,) = read(b"Something else\n")
    assert line == Line("Something else")


def test_a_frame_of_a_traceback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    text = (FIRMWARE / "rootlet" / "tls.py").read_text().splitlines()
    number = next(i for i, line in enumerate(text, 1) if line.startswith("def "))
    monkeypatch.chdir(ROOT)
    source.cache_clear()
    for name in ("rootlet/tls.py", "/rootlet/tls.py", "/app_a/rootlet/tls.py", "app_b/rootlet/tls.py"):
        found = source(f'  File "{name}", line {number}, in connect')
        assert found and (found.path, found.line) == ("firmware/rootlet/tls.py", number)
        assert found.text == text[number - 1].strip()
    monkeypatch.chdir(tmp_path)
    source.cache_clear()
    found = source('  File "main.py", line 1, in <module>')
    assert found and found.path == str(FIRMWARE / "main.py")


@pytest.mark.parametrize(
    "name", ["../../../etc/passwd", "/etc/hosts.py", "rootlet/../main.py", "rootlet/absent.py", "mypy.ini", "a" * 300]
)
def test_no_other_file_is_read(name: str) -> None:
    assert source(f'  File "{name}", line 1, in x') is None


def test_a_frame_beyond_the_end_of_the_file() -> None:
    assert source('  File "main.py", line 9999, in x') is None
    assert source('  File "main.py", line 0, in x') is None


def started(*lines: str) -> list[int]:
    return [i for i, line in enumerate(read(("\n".join(lines) + "\n").encode())) if line.started]


def test_the_start_of_a_board_is_noticed_once() -> None:
    first = "[   0.012] gateway: rootlet starts, 1 B free"
    assert started(first, "[   0.020] wifi: x", first, "[   0.020] wifi: x") == [0, 2]
    assert started("[   9.000] wifi: x", "MPY: soft reboot", first, "[   0.020] wifi: x") == [1]
    assert started("ets Jul 29", "rst:0x1 (POWERON_RESET),boot:0x13", "load", first) == [1]
    assert started("[   9.000] wifi: x", "[   0.020] wifi: x", "[   0.021] wifi: x") == [1]
    # The count of milliseconds turns over.
    assert started("[536870.900] wifi: x", "[-536870.900] wifi: x", "[-536870.800] wifi: x") == []


def test_a_reset_in_the_middle_of_a_line() -> None:
    lines = read(b"half a li[   0.001] gateway: rootlet starts, 1 B free\n")
    assert [line.text for line in lines] == ["half a li …", "[   0.001] gateway: rootlet starts, 1 B free"]
    assert [line.started for line in lines] == [False, True]


def test_harmless() -> None:
    assert harmless("a\x1b[31;1mb\x1b(Bc\x1b]8;;http://x\x1b\\d\x1b[2") == "abcd"
    assert not re.search(r"[\x00-\x1f\x7f-\x9f]", harmless("".join(map(chr, range(256)))))
    assert harmless("\N{RIGHT-TO-LEFT OVERRIDE}x") == "\N{REPLACEMENT CHARACTER}x"


def test_thousands_of_secrets_are_looked_for_in_time() -> None:
    import time

    masker = Masker([f"{i:05d}-secret-of-a-fleet" for i in range(3000)])
    began = time.process_time()
    for i in range(20):
        assert masker.text("x" * 4000 + f" {i:05d}-secret-of-a-fle", cut=True).endswith(MASK)
    assert time.process_time() - began < 5


def test_secrets_of_a_project(tmp_path: Path) -> None:
    from types import SimpleNamespace

    from host_tools.failure import Failure

    class Locked:
        id = "dev-2"

        @property
        def config(self) -> dict[str, str]:
            raise Failure("no secret", "it is absent", "say it")

    one = SimpleNamespace(id="dev-1", config={"wifi": {"networks": [{"password": "w1"}]}})
    project = SimpleNamespace(
        folder=tmp_path, ca_dir=tmp_path / "ca-data", devices=(one, Locked()), out=lambda name: tmp_path / "out" / name
    )
    for path, data in (("out/dev-1/device.psk", b"p1"), ("out/dev-2/device.psk", b"p2"), ("ca-data/psk/x.psk", b"p3")):
        (tmp_path / path).parent.mkdir(parents=True)
        (tmp_path / path).write_bytes(data)
    assert set(known(project)) == {"w1", b"p1", b"p2", b"p3"}
    assert set(known(project, device="dev-2")) == {b"p2", b"p3"}


@pytest.mark.parametrize(
    "piece", ["key-", "key ", "a-key", "password=", 'password:"', "\x1b]", "OSError: ", "key" + " " * 4000]
)
def test_no_line_keeps_the_reader_busy(piece: str) -> None:
    import time

    line = (piece * LONGEST)[:LONGEST].encode() + b"\n"
    began = time.process_time()
    read(line, secrets=("a-secret-of-the-project",))
    assert time.process_time() - began < 0.5
