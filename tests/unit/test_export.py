"""What is exported is what was kept, by other programs' rules; and it is sent to the right server only."""

import contextlib
import csv
import http.server
import io
import json
import math
import os
import shutil
import signal
import ssl
import stat
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as some
from typer.testing import CliRunner

from host_tools import ca, export, influx
from host_tools.commands.app import app
from host_tools.failure import Exit, Failure
from host_tools.history import History
from host_tools.history_file import Stored, Wanted, refuse_unknown, stored
from tests.history_samples import NOW, Reading, counter
from tests.running import environment

NAMES = some.text(some.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=20)
NUMBERS = some.one_of(some.integers(-(1 << 63), (1 << 63) - 1), some.floats(allow_nan=False, allow_infinity=False))
ROWS = some.builds(
    Stored, some.integers(1577836800000, 4102444800000), some.integers(1577836800000, 4102444800000), NAMES, NAMES,
    NAMES, some.one_of(NUMBERS, NAMES), NAMES, some.none() | some.integers(0, 1 << 53),
    some.none() | some.integers(0, 1 << 53),
)  # fmt: skip


@pytest.fixture(scope="module")
def path(tmp_path_factory) -> Path:
    """500 readings of dev-1, and some odd ones of dev-2."""
    path = tmp_path_factory.mktemp("history") / "history.sqlite"
    odd = ['=HYPERLINK("http://x")', "-5", 'a,"b"\\ c', "\\.", "\\N", "", "tab\there", -5.5, 1e300, (1 << 63) - 1]
    with History(path) as kept:
        for _, reading in zip(range(500), counter(), strict=False):
            kept.reading(NOW + 600, reading)
        for i, value in enumerate(odd):
            kept.reading(NOW + 600, Reading(value, "dev-2", "se nsor,=", "", "m/s²", NOW + 1000, 2, i))
        assert kept.flush() and kept.lost == 0
    return path


def command(*arguments: str, **more) -> subprocess.CompletedProcess:
    line = [sys.executable, "-m", "host_tools", "export", *arguments]
    return subprocess.run(line, capture_output=True, timeout=60, env=environment(), check=False, **more)


# --- InfluxDB line protocol -------------------------------------------------------------------------------------


def split(text: str, at: str, most: int = -1, quotes: bool = False) -> list[str]:
    """Split where `at` is not escaped by a backslash, nor, with quotes, inside double quotes."""
    parts, part, escaped, quoted = [], "", False, False
    for c in text:
        if c == at and not escaped and not quoted and most:
            parts.append(part)
            part, most = "", most - 1
            continue
        quoted ^= quotes and c == '"' and not escaped
        escaped = c == "\\" and not escaped
        part += c
    return [*parts, part]


def unescaped(text: str, which: str) -> str:
    out, i = "", 0
    while i < len(text):
        i += text[i] == "\\" and text[i + 1 : i + 2] != "" and text[i + 1] in which
        out += text[i]
        i += 1
    return out


def parsed(line: str) -> tuple[str, dict[str, str], dict[str, float | str], int]:
    """One point as InfluxDB reads it: measurement, tags, fields, ns."""
    assert line.endswith("\n") and "\n" not in line[:-1]
    head, rest = split(line[:-1], " ", 1)
    fields, at = split(rest, " ", quotes=True)  # in tags a quotation mark is a character like any other
    measurement, *tags = split(head, ",")
    pairs = [split(tag, "=") for tag in tags]
    assert all(len(pair) == 2 and pair[1] for pair in pairs)
    assert [name for name, _ in pairs] == sorted(name for name, _ in pairs)
    name, value = split(fields, "=", 1)
    field = unescaped(value[1:-1], '"\\') if value[0] == '"' else float(value)
    return measurement, {name: unescaped(v, ",= ") for name, v in pairs}, {name: field}, int(at)


def plain(text: str) -> str:
    return "".join(" " if ord(c) < 32 or c in "\x7f\x85\u2028\u2029" else c for c in text)


@settings(deadline=None)
@given(ROWS)
def test_a_line_says_what_was_kept(row):
    (line,) = export.as_lines([row])
    line.encode()
    measurement, tags, fields, at = parsed(line)
    assert measurement == "rootlet" and at == row.time * 1_000_000
    wanted = {"device": row.device, "sensor": row.sensor, "quantity": row.quantity, "unit": row.unit}
    assert tags == {name: plain(text).replace("\\", "/") for name, text in wanted.items() if text}
    if isinstance(row.value, str):
        assert fields == {"text": plain(row.value)}
    else:
        assert fields == {"value": float(row.value)}
        assert not line.split(" ")[-2].endswith("i")


def test_points_of_one_second_do_not_replace_each_other(tmp_path):
    with History(tmp_path / "h.sqlite") as kept:
        for i in range(3):
            kept.reading(NOW + 1, Reading(i, time=NOW, boot=1, seq=i))
        kept.reading(NOW + 1, Reading(9, "dev-2", time=NOW, boot=1, seq=0))
    times = [parsed(line)[3] for line in export.as_lines(stored(tmp_path / "h.sqlite", Wanted()))]
    first = int(NOW) * 10**9
    assert times == [first, first + 1, first + 2, first]


# --- CSV, JSON, COPY, Parquet -------------------------------------------------------------------------------------


@settings(max_examples=50, deadline=None)
@given(some.lists(ROWS, max_size=3))
def test_csv_is_read_back_by_the_csv_module(rows):
    read = list(csv.DictReader(io.StringIO("".join(export.as_csv(rows)), newline="")))
    assert len(read) == len(rows)
    for back, row in zip(read, rows, strict=True):
        assert (back["device"], back["sensor"], back["unit"]) == (row.device, row.sensor, row.unit)
        if isinstance(row.value, str):
            assert (back["text"], back["value"]) == (row.value, "")
        else:
            assert float(back["value"]) == float(row.value) and back["text"] == ""
        assert back["seq"] == ("" if row.seq is None else str(row.seq))
        assert export.moment(back["time"], 0) == pytest.approx(row.time / 1000)


def test_nothing_is_a_header():
    assert "".join(export.as_csv([])) == ",".join(export.COLUMNS) + "\n"


def test_formulas_are_text_for_a_spreadsheet_and_numbers_stay_numbers(path):
    read = {}
    for more in ([], ["--for-spreadsheet"]):
        done = command("--history", str(path), "--device", "dev-2", *more)
        assert done.returncode == 0, done.stderr
        read[len(more)] = list(csv.DictReader(io.StringIO(done.stdout.decode(), newline="")))
    assert [row["text"] for row in read[0]][:2] == ['=HYPERLINK("http://x")', "-5"]
    assert [row["text"] for row in read[1]][:2] == ['\'=HYPERLINK("http://x")', "'-5"]
    assert read[0][7]["value"] == read[1][7]["value"] == "-5.5"


@settings(max_examples=50, deadline=None)
@given(some.lists(ROWS, max_size=3))
def test_json_lines_are_read_back(rows):
    lines = "".join(export.as_jsonl(rows)).splitlines() if not rows else list(export.as_jsonl(rows))
    read = [json.loads(line) for line in lines]
    assert [(r["device"], r["value"], r["boot"]) for r in read] == [(r.device, r.value, r.boot) for r in rows]
    assert all(line.count("\n") == 1 for line in lines)


def test_parquet_is_read_back_in_row_groups(path, tmp_path, monkeypatch):
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    monkeypatch.setattr(export, "_ROW_GROUP", 100)
    with (tmp_path / "x.parquet").open("wb") as out:
        assert export.write(stored(path, Wanted()), "parquet", out) == 510
    file = pq.ParquetFile(tmp_path / "x.parquet")
    assert file.metadata.num_row_groups == 6
    kept, read = list(stored(path, Wanted())), file.read().to_pylist()
    for row, back in zip(kept, read, strict=True):
        text = isinstance(row.value, str)
        assert back["time"].timestamp() == row.time / 1000 and (back["device"], back["seq"]) == (row.device, row.seq)
        assert (back["value"], back["text"]) == ((None, row.value) if text else (float(row.value), None))


def test_parquet_without_pyarrow_says_what_to_install(path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(Failure, match="pyarrow") as missing:
        export.write(stored(path, Wanted()), "parquet", io.BytesIO())
    assert "rootlet[parquet]" in missing.value.try_


@contextlib.contextmanager
def postgres() -> Iterator[list[str]]:
    """A PostgreSQL of its own that listens on a socket file only; yields a psql command."""
    found = shutil.which("initdb") or next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None)
    if not found or not shutil.which("psql"):
        pytest.skip("PostgreSQL is not installed")
    tools = Path(found).parent
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="pg") as name:
        folder = Path(name)
        if user:
            shutil.chown(folder, "postgres")
        data = str(folder / "data")

        def run(*line: str) -> None:
            where = {"cwd": folder, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
            subprocess.run([*user, *line], check=True, timeout=60, **where)

        run(str(tools / "initdb"), "-D", data, "-A", "trust", "-U", "postgres", "-N")
        options = f"-c listen_addresses='' -c fsync=off -k {folder}"
        run(str(tools / "pg_ctl"), "-D", data, "-w", "-o", options, "-l", f"{folder}/log", "start")
        try:
            yield [
                "psql", "-X", "-q", "-A", "-t", "-v", "ON_ERROR_STOP=1", "-h", str(folder), "-U", "postgres", "postgres"
            ]  # fmt: skip
        finally:
            run(str(tools / "pg_ctl"), "-D", data, "-m", "immediate", "-w", "stop")


def test_postgresql_takes_the_schema_and_copy_and_csv(path):
    with postgres() as psql:

        def sql(text: str | bytes, *more: str) -> str:
            data = text if isinstance(text, bytes) else text.encode()
            done = subprocess.run([*psql, *more], input=data, capture_output=True, timeout=60, check=False)
            assert done.returncode == 0, done.stderr
            return done.stdout.decode()

        sql(command("--schema").stdout)
        sql(command("--history", str(path), "--format", "copy").stdout)
        sql("CREATE TABLE from_csv (LIKE rootlet_reading)")
        sql(command("--history", str(path)).stdout, "-c", "COPY from_csv FROM STDIN CSV HEADER")
        for table in ("rootlet_reading", "from_csv"):
            question = f"SELECT json_agg(r ORDER BY device, time, seq) FROM {table} r"
            read = json.loads(sql(question))
            kept = list(stored(path, Wanted()))
            assert len(read) == len(kept) == 510
            for back, row in zip(read, kept, strict=True):
                text = isinstance(row.value, str)
                empty_is_null = table == "from_csv"
                assert back["text"] == ((row.value or (None if empty_is_null else "")) if text else None)
                assert back["value"] is None if text else math.isclose(back["value"], row.value)
                assert (back["device"], back["sensor"], back["unit"], back["seq"]) == (
                    row.device, row.sensor, row.unit, row.seq
                )  # fmt: skip
                assert export.moment(back["time"], 0) == row.time / 1000


# --- the command ------------------------------------------------------------------------------------------------


def test_only_what_is_wanted(path):
    at = export.iso(round((NOW + 100) * 1000))
    done = command(
        "--history", str(path), "--format", "jsonl", "--device", "dev-1", "--sensor", "bme280", "--quantity",
        "temperature", "--since", at, "--until", export.iso(round((NOW + 103) * 1000)),
    )  # fmt: skip
    assert [json.loads(line)["seq"] for line in done.stdout.splitlines()] == [100, 101, 102]
    assert command("--history", str(path), "--since", "1s").stdout.count(b"\n") == 1


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2h", 1e9 - 7200), ("90s", 1e9 - 90), ("1.5d", 1e9 - 129600), ("10 min", 1e9 - 600), ("1w", 1e9 - 604800),
     ("1970-01-02", 86400), ("1970-01-01T01:00:00+01:00", 0), ("1970-01-01T00:00:01Z", 1)],
)  # fmt: skip
def test_times_as_people_write_them(text, seconds):
    assert export.moment(text, 1e9) == seconds


@pytest.mark.parametrize("text", ["", "yesterday", "2 parsecs", "-2h", "9" * 99 + "h", "2026-13-01"])
def test_what_is_no_time(text):
    with pytest.raises(Failure) as refused:
        export.moment(text, 1e9)
    assert refused.value.code == Exit.USAGE


def test_a_file_takes_its_place_only_when_it_is_whole(path, tmp_path):
    out = tmp_path / "out.csv"
    out.write_text("old")
    with pytest.raises(ZeroDivisionError):
        export_broken(out)
    assert out.read_text() == "old" and list(tmp_path.iterdir()) == [out]
    done = command("--history", str(path), "-o", str(out))
    assert done.returncode == 0 and done.stderr.startswith(b"510 readings") and done.stdout == b""
    assert out.read_text().count("\n") == 511 and stat.S_IMODE(out.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [out]


def export_broken(out: Path) -> None:
    from host_tools.safe_write import streamed

    with streamed(out) as file:
        file.write(b"half")
        raise ZeroDivisionError


def test_without_a_path_it_is_the_history_of_this_folder(path, tmp_path):
    (tmp_path / "dashboard-data").mkdir()
    shutil.copy(path, tmp_path / "dashboard-data" / "history.sqlite")
    assert command(cwd=tmp_path).stdout.count(b"\n") == 511


def test_refusals(path, tmp_path):
    missing = tmp_path / "none.sqlite"
    history = ["--history", str(path)]
    for arguments, says, code in (
        (["--history", str(missing)], "there is no history", 1),
        ([*history, "-o", str(path)], "the history itself", 2),
        ([*history, "-o", str(tmp_path / "no" / "x")], "cannot write", 1),
        ([*history, "--token-file", str(path)], "for --influx", 2),
        ([*history, "--influx", "https://x/", "-o", "x"], "no -o", 2),
        ([*history, "--format", "line", "--for-spreadsheet"], "--format csv", 2),
        ([*history, "--since", "2h", "--until", "3h"], "no reading can be in that time", 2),
    ):
        refused = CliRunner().invoke(app, ["export", *arguments]).exception
        assert isinstance(refused, Failure) and says in str(refused) and refused.code == code, refused
    assert not missing.exists()


def test_a_name_that_is_not_there_is_told_with_those_that_are(path, tmp_path):
    out = tmp_path / "out.csv"
    for choice, says, fix in (
        (
            ["--device", "dev-11", "-o", str(out)],
            "no device 'dev-11'\nbecause: there are dev-1, dev-2",
            "--device dev-1",
        ),
        (["--device", "\x1b[31m"], "because: there are ", "--device dev-"),
        (["--device", "dev-1", "--sensor", "bme20"], "there is bme280", "--sensor bme280"),
        (["--device", "dev-1", "--sensor", "bme280", "--quantity", "temp"], "there is temperature", "temperature"),
    ):
        refused = CliRunner().invoke(app, ["export", "--history", str(path), *choice]).exception
        assert isinstance(refused, Failure) and says in str(refused) and fix in refused.try_, refused
        assert refused.code == Exit.FAILED and "\x1b" not in str(refused)
    assert not out.exists()


def test_of_many_names_the_five_closest_are_told(tmp_path):
    path = tmp_path / "h.sqlite"
    with History(path) as kept:
        for i in range(40):
            kept.reading(NOW, Reading(i, f"pico-{i}"))
    with pytest.raises(Failure) as refused:
        refuse_unknown(path, Wanted("pico 39"))
    assert refused.value.because.startswith("there are pico-39, ") and refused.value.because.count("pico-") == 5


def test_a_try_again_is_told_while_it_waits(path, monkeypatch):
    monkeypatch.setattr(influx, "_MOST_TRIES", 2)
    done = CliRunner().invoke(app, ["export", "--history", str(path), "--influx", "http://127.0.0.1:1/write"])
    assert done.exit_code == 1
    assert "127.0.0.1:1: ConnectionRefusedError: [Errno 111] Connection refused; try 2 of 2 in " in done.stderr


@pytest.mark.parametrize("use", [History, lambda path: list(stored(path, Wanted()))], ids=["dashboard", "export"])
def test_a_foreign_file_is_not_to_be_moved(tmp_path, use):
    path = tmp_path / "wifi.json"
    path.write_text('{"password": "…"}' * 99)
    path.chmod(0o644)
    with pytest.raises(Failure) as refused:
        use(path)
    assert "mv " not in refused.value.try_ and "--history FILE" in refused.value.try_
    assert stat.S_IMODE(path.stat().st_mode) == 0o644  # nor is anything else done to it


def endless(path: Path) -> None:
    with History(path) as kept:
        readings = counter()
        for _ in range(6):
            for _ in range(10_000):
                kept.reading(NOW + 90_000, next(readings))
            assert kept.flush()


def test_a_reader_that_has_enough_and_ctrl_c_end_it_quietly(tmp_path):
    path = tmp_path / "h.sqlite"
    endless(path)
    line = [sys.executable, "-m", "host_tools", "export", "--history", str(path)]
    for how, code in (("pipe", 0), ("interrupt", 130)):
        with subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=environment()) as process:
            assert process.stdout and process.stderr
            assert process.stdout.readline().startswith(b"time,")
            if how == "pipe":
                process.stdout.close()
            else:
                process.send_signal(signal.SIGINT)
                process.stdout.read()
            assert process.wait(30) == code, how
            assert process.stderr.read() == b""


def test_ctrl_c_leaves_no_half_file(tmp_path):
    path, folder = tmp_path / "h.sqlite", tmp_path / "out"
    folder.mkdir()
    endless(path)
    line = [sys.executable, "-m", "host_tools", "export", "--history", str(path), "-o", str(folder / "x.csv")]
    with subprocess.Popen(line, stderr=subprocess.PIPE, env=environment()) as process:
        while not any(file.stat().st_size for file in folder.iterdir()):
            assert process.poll() is None
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130
        assert process.stderr and process.stderr.read() == b""
    assert list(folder.iterdir()) == []


# --- sending ----------------------------------------------------------------------------------------------------


class Database(http.server.BaseHTTPRequestHandler):
    """Stands in for InfluxDB: keeps what it takes, and answers as it is told to."""

    protocol_version = "HTTP/1.1"
    answers: list[tuple[int, dict[str, str]]]
    requests: list[tuple[str, dict[str, str], bytes]]

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.requests.append((self.path, dict(self.headers), body))
        status, more = self.answers.pop(0) if self.answers else (204, {})
        if status == 0:  # cut
            self.connection.close()
            self.close_connection = True
            return
        said = b"" if status == 204 else f"no: {self.headers['Authorization']}".encode() + b"\x1b[2J"
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(said)))
        self.end_headers()
        self.wfile.write(said)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def authority(tmp_path_factory) -> ca.Authority:
    return ca.init(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="module")
def server(authority) -> ssl.SSLContext:
    issued = authority.issue_server(["influx.test"], ["127.0.0.1"])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.cert_pem, issued.key_pem)
    return context


@pytest.fixture
def database(server) -> Iterator[tuple[type[Database], int]]:
    handler = type("Handler", (Database,), {"answers": [], "requests": []})
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        httpd.socket = server.wrap_socket(httpd.socket, server_side=True)
        thread = threading.Thread(target=httpd.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        yield handler, httpd.server_address[1]
        httpd.shutdown()


@pytest.fixture
def token(tmp_path) -> Path:
    file = tmp_path / "token"
    file.write_text("s3cret-Token==\n")
    file.chmod(0o600)
    return file


def test_the_command_sends_all_to_a_verified_server(path, database, authority, token):
    handler, port = database
    url = f"https://127.0.0.1:{port}/api/v2/write?org=home&bucket=iot"
    done = command("--history", str(path), "--influx", url, "--ca", str(authority.cert_pem), "--token-file", str(token))
    assert (done.returncode, done.stderr) == (0, b"510 readings sent\n")
    ((where, headers, body),) = handler.requests
    assert where == "/api/v2/write?org=home&bucket=iot" and headers["Authorization"] == "Token s3cret-Token=="
    assert "Content-Encoding" not in headers
    assert body.decode() == "".join(export.as_lines(stored(path, Wanted())))


def test_it_waits_and_tries_again(database, authority, token):
    handler, port = database
    handler.answers += [(429, {"Retry-After": "7"}), (500, {}), (0, {}), (204, {}), (503, {"Retry-After": "9999"})]
    pauses: list[float] = []
    told: list[str] = []
    place = influx.target(f"https://127.0.0.1:{port}/api/v3/write_lp?db=iot", token, authority.cert_pem)
    lines = [f"rootlet,device=d value={i}.0 {i}\n" for i in range(60_000)]
    assert influx.send(place, lines, told.append, pauses.append) == len(lines)
    assert len(told) == 4 and "HTTP 429" in told[0] and told[0].endswith("; try 2 of 8 in 7.0 s")
    assert "try 4 of 8" in told[2] and "s3cret" not in "".join(told)
    assert pauses[0] == 7 and 0 <= pauses[1] <= 2 and 0 <= pauses[2] <= 4 and pauses[3:] == [60]
    bodies = [body for _, _, body in handler.requests]
    assert bodies[0] == bodies[1] == bodies[2] == bodies[3] and bodies[4] == bodies[5]
    assert b"".join([bodies[0], *bodies[5:]]).decode() == "".join(lines)
    assert max(map(len, bodies)) <= influx._BATCH_BYTES and len(bodies) > 5
    assert handler.requests[0][1]["Authorization"] == "Bearer s3cret-Token=="


def test_what_a_server_refuses_is_told_once_and_without_the_token(database, authority, token):
    handler, port = database
    place = influx.target(f"https://127.0.0.1:{port}/write?db=iot", token, authority.cert_pem)
    for status in (400, 401, 404, 413, 302):
        handler.answers.append((status, {"Location": "http://127.0.0.1:1/"}))
        with pytest.raises(Failure) as refused:
            influx.send(place, ["rootlet value=1.0 1\n"], pytest.fail, pytest.fail)
        assert f"HTTP {status} no: Token [hidden]" in refused.value.because
        assert "s3cret" not in str(refused.value) and "\x1b" not in str(refused.value)
    assert len(handler.requests) == 5
    assert "s3cret" not in repr(place)


def test_a_server_that_does_not_get_well_is_given_up(database, authority):
    handler, port = database
    handler.answers += [(503, {})] * 99
    pauses: list[float] = []
    place = influx.target(f"https://127.0.0.1:{port}/write", None, authority.cert_pem)
    with pytest.raises(Failure, match="8 times"):
        influx.send(place, ["rootlet value=1.0 1\n"], print, pauses.append)
    assert len(handler.requests) == 8 and len(pauses) == 7
    assert "Authorization" not in handler.requests[0][1]


def test_a_server_of_another_ca_or_name_gets_nothing(path, database, authority, token, tmp_path):
    handler, port = database  # its certificate does not name localhost
    stranger = ca.init(tmp_path / "other")
    for name, trusted in (("127.0.0.1", stranger.cert_pem), ("127.0.0.1", None), ("localhost", authority.cert_pem)):
        place = influx.target(f"https://{name}:{port}/api/v2/write", token, trusted)
        with pytest.raises(Failure) as refused:
            influx.send(place, ["rootlet value=1.0 1\n"], pytest.fail, pytest.fail)
        assert refused.value.code == Exit.UNVERIFIED
    assert handler.requests == []
    url = f"https://127.0.0.1:{port}/api/v2/write"
    done = command("--history", str(path), "--influx", url, "--token-file", str(token))
    assert done.returncode == Exit.UNVERIFIED and b"not who it should be" in done.stderr


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://influx.example.org:8086/write", "not be encrypted"),
        ("http://127.0.0.1.example.org/write", "not be encrypted"),
        ("ftp://localhost/", "no URL"), ("https:///write", "no URL"), ("https://[::1", "no URL"),
        ("https://localhost:99999/", "no URL"), ("https://localhost/a b", "no URL"), ("nonsense", "no URL"),
        ("https://user:pw@localhost/write", "secret"), ("https://localhost/write?u=a&p=b", "secret"),
        ("https://localhost/write?token=x", "secret"), ("https://localhost/write?precision=s", "misread"),
        ("https://localhost/write\r\nX: y", "no URL"),
    ],
)  # fmt: skip
def test_urls_that_are_not_used(url, says):
    with pytest.raises(Failure) as refused:
        influx.target(url, None, None)
    assert says in refused.value.what and refused.value.code == Exit.USAGE


def test_plain_http_on_loopback_only(token):
    for host in ("localhost", "127.0.0.1", "[::1]"):
        assert not influx.target(f"http://{host}:8428/write", token, None).secure


def test_a_token_that_others_can_read_or_is_none(tmp_path):
    file = tmp_path / "token"
    for text, mode, says in (("abc", 0o644, "not secret"), ("", 0o600, "no token"), ("a b", 0o600, "no token")):
        file.write_text(text)
        file.chmod(mode)
        with pytest.raises(Failure, match=says):
            influx.target("https://localhost/", file, None)
    with pytest.raises(Failure, match="cannot read"):
        influx.target("https://localhost/", tmp_path / "none", None)
