"""CA profiles: which keys they make, the dates they allow, what they print about boards; keys for hosts alone."""

import json
import time
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from typer.testing import CliRunner

from host_tools import boards, ca, certinfo, handshakes
from host_tools.broker import Broker
from host_tools.commands.ca import app
from host_tools.failure import Exit, Failure
from tests.device_runner import INTERPRETERS, run_job

LAST = datetime(2029, 12, 31, 23, 59, 59, tzinfo=UTC)


@pytest.fixture(scope="module")
def fast(tmp_path_factory: pytest.TempPathFactory) -> ca.Authority:
    return ca.init(tmp_path_factory.mktemp("fast"), profile="fast")


def key(thing: ca.Authority | ca.Issued) -> str:
    return certinfo.cert_key_name(thing.cert)


def test_strong_is_the_default_and_p256_throughout(tmp_path: Path) -> None:
    made = ca.init(tmp_path)
    assert made.profile == "strong"
    assert {key(made), key(made.issue_server(["a.example"])), key(made.issue_device("d"))} == {"P-256"}


def test_fast_has_rsa_ca_and_servers_and_p256_devices(fast: ca.Authority) -> None:
    assert key(fast) == key(fast.issue_server(["a.example"])) == "RSA-2048"
    assert key(fast.issue_device("d")) == "P-256"


def test_the_profile_is_remembered(fast: ca.Authority) -> None:
    again = ca.load(fast.directory)
    assert again.profile == "fast"
    assert key(again.issue_server(["b.example"])) == "RSA-2048"


def test_a_ca_without_a_profile_is_a_strong_one(tmp_path: Path) -> None:
    ca.init(tmp_path)
    (tmp_path / "profile.json").unlink()
    assert ca.load(tmp_path).profile == "strong"


@pytest.mark.parametrize("text", ["", "{}", "[]", '"fast"', '{"profile": "quick"}', '{"profile": ["fast"]}', "\xff"])
def test_a_damaged_profile_is_told(text: str, tmp_path: Path) -> None:
    ca.init(tmp_path)
    (tmp_path / "profile.json").write_text(text, encoding="latin-1")
    with pytest.raises(Failure) as e:
        ca.load(tmp_path)
    assert "profile.json is damaged" in e.value.what


def test_an_unknown_profile_is_refused_before_anything_is_made(tmp_path: Path) -> None:
    with pytest.raises(Failure) as e:
        ca.init(tmp_path / "ca", profile="quick")
    assert e.value.code == Exit.USAGE
    assert not (tmp_path / "ca").exists()


def test_an_explicit_key_wins(fast: ca.Authority, tmp_path: Path) -> None:
    assert key(fast.issue_server(["c.example"], key_type="p256")) == "P-256"
    assert key(fast.issue_device("e", key_type="rsa2048")) == "RSA-2048"
    made = ca.init(tmp_path, profile="fast", key_type="p384")
    assert key(made) == "P-384"
    assert made.cert.not_valid_after_utc == LAST


def test_fast_ends_with_2029(fast: ca.Authority) -> None:
    assert fast.cert.not_valid_after_utc == LAST


@pytest.mark.parametrize(
    "dates", [{"days": 3650}, {"not_after": LAST + timedelta(seconds=1)}, {"not_before": LAST}], ids=str
)
def test_later_dates_are_refused_with_the_reason(dates: dict, fast: ca.Authority, tmp_path: Path) -> None:
    for make in (
        lambda: ca.init(tmp_path / "ca", profile="fast", **dates),
        lambda: fast.issue_server(["late.example"], **dates),
        lambda: fast.issue_device("late", **dates),
    ):
        with pytest.raises(Failure) as e:
            make()
        assert e.value.code == Exit.USAGE
        assert "nothing may end after 2029-12-31" in e.value.because
    assert not list((fast.directory / "issued").glob("*late*"))


def test_dates_up_to_the_last_second_are_taken(fast: ca.Authority) -> None:
    assert fast.issue_server(["last.example"], not_after=LAST).cert.not_valid_after_utc == LAST


def test_a_default_is_shortened(fast: ca.Authority) -> None:
    made = fast.issue_server(["short.example"], not_before=LAST - timedelta(days=30))
    assert made.cert.not_valid_after_utc == LAST
    assert "ends 2029-12-31" in made.notes[0]


def test_a_profile_put_upon_an_older_ca_limits_too(tmp_path: Path) -> None:
    ca.init(tmp_path)
    (tmp_path / "profile.json").write_text('{"profile": "fast"}')
    made = ca.load(tmp_path).issue_server(["x.example"], not_before=LAST - timedelta(days=30))
    assert made.cert.not_valid_after_utc == LAST


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_the_firmware_connects_by_mutual_tls(interpreter: str, fast: ca.Authority, tmp_path: Path) -> None:
    server = fast.issue_server(["localhost", f"{interpreter}.localhost"], force=True)
    device = fast.issue_device("dev-1", force=True)
    with Broker(server.cert_pem, server.key_pem, fast.cert_pem, workdir=tmp_path) as broker:
        job = {
            "roots": [str(fast.cert_der)],
            "clock": int(time.time()),
            "cert": str(device.cert_der),
            "key": str(device.key_der),
            "steps": [{"do": "mqtt_connect", "id": "dev-1", "port": broker.port}],
        }
        (result,) = run_job(interpreter, job, tmp_path)
    assert result.get("session") is False, result


@pytest.mark.parametrize("kind", ["ed25519", "Ed448"])
def test_keys_for_hosts_alone(kind: str, fast: ca.Authority) -> None:
    with pytest.raises(Failure) as e:
        fast.issue_server(["host.example"], key_type=kind)
    assert "Mbed TLS" in e.value.because
    assert f"--host-only --key {kind.lower()}" in e.value.try_
    made = fast.issue_server(["host.example"], key_type=kind, host_only=True, force=True)
    assert key(made) == kind.capitalize()
    made.cert.verify_directly_issued_by(fast.cert)


def test_a_device_or_a_ca_is_never_for_hosts_alone(fast: ca.Authority, tmp_path: Path) -> None:
    for make in (
        lambda: fast.issue_device("ed", key_type="ed25519"),
        lambda: ca.init(tmp_path / "ca", key_type="ed25519"),
    ):
        with pytest.raises(Failure) as e:
            make()
        assert "Mbed TLS" in e.value.because


def run(*arguments: object) -> str:
    done = CliRunner().invoke(app, [str(a) for a in arguments])
    assert done.exit_code == 0, done.output
    return done.output


def test_the_commands_say_what_it_costs(tmp_path: Path) -> None:
    where = ("--dir", tmp_path)
    output = run("init", "--profile", "fast", *where)
    assert "strong: CA p256, server p256, device p256: 1.27 to 1.64 s, 29.6 KB" in output
    assert "fast: CA rsa2048, server rsa2048, device p256 (this CA): 0.81 to 0.96 s, 31.8 KB" in output
    assert "not validated on hardware" in output
    assert "not measured: esp32_c3, esp32_generic, esp32_s3, pico2_w" in output
    assert "nothing of this CA ends after 2029-12-31" in output
    output = run("issue", "server", "a.example", *where)
    assert "with a p256 device: 0.81 to 0.96 s" in output
    assert "without a device certificate: 0.69 to 0.81 s" in output
    output = run("issue", "server", "b.example", "--key", "p384", *where)
    assert "not measured: esp32_c3, esp32_generic, esp32_s3, pico2_w, pico_w" in output
    output = run("issue", "server", "c.example", "--key", "ed25519", "--host-only", *where)
    assert "none on a board: Mbed TLS lacks Ed25519" in output
    assert "with a rsa2048 server: 4.86 to 4.97 s" in run("issue", "device", "d", "--key", "rsa2048", *where)
    assert "(this CA): 0.81 to 0.96 s" in run("show", "ca", *where)
    shown = json.loads(run("show", "server-a.example", "--json", *where))
    measured = {(row["board"], row["device"]): row["measured"] for row in shown["handshakes"]}
    assert measured["pico_w", "p256"]["seconds"] == [0.81, 0.96]
    assert measured["pico2_w", "p256"] is None


def test_a_certificate_of_somebody_else_gets_no_figure_of_its_own(fast: ca.Authority, tmp_path: Path) -> None:
    other = ca.init(tmp_path, subject="/CN=Other")
    output = run("show", other.issue_server(["a.example"]).cert_pem, "--dir", fast.directory)
    assert "mutual TLS, strong" in output and "this CA" not in output


def test_every_figure_is_of_a_known_board_and_has_a_source() -> None:
    for row in handshakes.ROWS:
        assert row.board in boards.ids()
        assert row.how in ("emulated", "hardware")
        assert 0 < row.seconds[0] <= row.seconds[1]
        assert row.held_kb <= row.peak_kb
        assert row.firmware and row.note and datetime.fromisoformat(row.date)
        assert row.how == "hardware" or "not validated on hardware" in row.note


def test_a_row_measured_on_hardware_comes_before_an_emulated_one() -> None:
    emulated = handshakes.find("pico_w", ("p256", "p256"), "p256")
    assert emulated
    better = replace(emulated, how="hardware", date="2025-01-01", seconds=(1.0, 1.0), note="a board")
    assert handshakes.find("pico_w", ("p256", "p256"), "p256", (better, emulated)) is better
    newer = replace(better, date="2027-01-01")
    assert handshakes.find("pico_w", ("p256", "p256"), "p256", (better, newer, emulated)) is newer
