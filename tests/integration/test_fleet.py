"""A fleet loses its broker and gets it back: all return, none in a herd, nothing acknowledged is lost."""

import asyncio
import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time

import pytest

from host_tools import ca, fleet_certs
from host_tools.broker import Broker, choose
from host_tools.failure import Failure
from host_tools.fleet import Fleet, settings
from host_tools.fleet_observer import Observer
from host_tools.fleet_report import attempts_cap, histogram_lines
from host_tools.paths import FIRMWARE, ROOT
from host_tools.sim import light_device, ticks
from tests.integration import hostile
from tests.integration.conftest import Pki

COUNT = int(os.environ.get("ROOTLET_FLEET", "100"))
EVERY_S = 5 if COUNT > 200 else 1
AWAY_S = 4.5
LONG = max(120, COUNT // 5)


@pytest.fixture
def broker(pki, tmp_path):
    try:
        choose("mosquitto")
    except Failure:
        pytest.skip("Mosquitto is not installed and could not be")
    server = pki.server
    args = (server.cert_pem, server.key_pem, pki.authority.cert_pem)
    with Broker(*args, workdir=tmp_path, engine="mosquitto", sessions=True) as running:
        yield running


def observer(pki: Pki, port: int) -> Observer:
    mine = pki.clients["observer"]
    return Observer("localhost", port, pki.authority.cert_pem, mine.cert_pem, mine.key_pem)


@pytest.mark.timeout(LONG + 120)
def test_all_come_back_and_no_acknowledged_reading_is_lost(pki, broker, tmp_path_factory):
    identities = fleet_certs.issue(pki.authority, fleet_certs.names(COUNT, "sim"), tmp_path_factory.mktemp("fleet"))
    with observer(pki, broker.port) as seen:
        # The observer's subscription is saved, so that the broker that comes back has it before its port opens.
        broker.restart()
        with Fleet(identities, "localhost", broker.port, pki.authority.cert_pem, every_s=EVERY_S) as fleet:
            fleet.wait_for(lambda s: s["connected"] == COUNT, LONG)
            before = fleet.wait_for(lambda s: s["acknowledged"] >= 2 * COUNT, LONG)
            # It hangs first, so that readings are on their way to it, and lost, when it dies.
            broker.freeze()
            sent = fleet.state()["published"]
            fleet.wait_for(lambda s: s["published"] >= sent + COUNT, 15)
            killed = time.time()
            broker.kill()
            fleet.wait_for(lambda s: s["connected"] == 0, 30)
            # Most have tried, and failed, more than once before there is a broker again.
            fleet.wait_for(lambda s: time.time() > killed + AWAY_S, AWAY_S + 5)
            broker.restart()
            opened = time.time()
            fleet.wait_for(lambda s: s["connected"] == COUNT, LONG)
            back = time.time()
            fleet.wait_for(lambda s: s["acknowledged"] >= before["acknowledged"] + 2 * COUNT, LONG)
            report = fleet.stop()
        facts = seen.settled(report.acked, fleet.boot)
    report.received = facts
    print(f"all {COUNT} back {back - opened:.1f} s after the broker")
    print("\n".join(report.lines()))
    after = {second: n for second, n in report.histogram.items() if second >= int(killed)}
    assert sum(after.values()) >= COUNT
    assert max(after.values()) <= attempts_cap(COUNT), histogram_lines(report.histogram, int(killed))
    assert broker.dropped() == [], "the harness was too slow, not the fleet"
    assert report.state["dropped"] == 0 and report.state["waiting"] == 0
    assert report.state["made"] == report.state["acknowledged"]
    assert facts["missing"] == 0, seen.missing(report.acked, fleet.boot)[:20]
    assert facts["readings"] == report.state["made"]
    assert report.state["again"] >= COUNT / 2, "nothing was on its way when the broker died"
    json.dumps(report.facts())


@pytest.mark.parametrize(("roots", "identity", "code"), [
    ("stranger", "own", "CERT_UNKNOWN_CA"), ("own", "stranger", "TLS_REFUSED"),
])  # fmt: skip
def test_strangers_are_refused_on_both_sides(roots, identity, code, pki, broker, tmp_path):
    folders = {"own": pki.authority.directory, "stranger": pki.folder / "other"}
    identities = fleet_certs.issue(ca.load(folders[identity]), ["sim-0000"], tmp_path)
    trusted = folders[roots] / "ca.crt.pem"
    with Fleet(identities, "localhost", broker.port, trusted, processes=1, drain_s=0.1) as fleet:
        state = fleet.wait_for(lambda s: s["failures"].get(code, 0) > 0, 15)
        assert state["connected"] == 0
        report = fleet.stop()
    assert report.state["acknowledged"] == 0
    assert "fleet" not in report.lost()


def test_a_process_that_dies_is_told(pki, broker, tmp_path):
    identities = fleet_certs.issue(pki.authority, ["sim-0000"], tmp_path)
    identities["sim-0000"].write_text("no certificate")
    with pytest.raises(Failure, match="ended by itself") as e:
        Fleet(identities, "localhost", broker.port, pki.authority.cert_pem, processes=1).__enter__()
    assert "SSLError" in e.value.because


def test_a_broker_that_falls_silent_is_left(pki, tmp_path, monkeypatch):
    """It takes the connection and acknowledges nothing: only a clock can tell."""
    monkeypatch.setattr(light_device, "ACK_S", 0.5)
    ticks.install()

    def answer(conn, ending):
        context = hostile.tls_context(pki.server.cert_pem, pki.server.key_pem)
        with contextlib.suppress(OSError), context.wrap_socket(conn, server_side=True) as tls:
            tls.recv(4096)
            tls.sendall(b"\x20\x02\x00\x00")
            ending.wait(10)

    identity = fleet_certs.issue(pki.authority, ["sim-0000"], tmp_path)["sim-0000"]
    counts = light_device.Counts()

    async def run(port):
        tls = light_device.context(pki.authority.cert_pem, identity)
        device = light_device.Device(
            "sim-0000", tls, settings("localhost", port), counts, every_s=0.1, boot=1, after_s=0
        )
        task = asyncio.create_task(device.run())
        async with asyncio.timeout(10):
            while not counts.failures:
                await asyncio.sleep(0.02)
        task.cancel()
        assert device.waiting > 0 and device.acked == []

    with hostile.serve(answer) as port:
        asyncio.run(run(port))
    assert dict(counts.failures) == {"MQTT_TIMEOUT": 1}
    assert counts.connected == 0


def command(*arguments):
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(FIRMWARE)])}
    return subprocess.Popen(
        [sys.executable, "-m", "host_tools", "sim", *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL, text=True, cwd=ROOT, env=environment,
    )  # fmt: skip


def test_the_command_until_ctrl_c_with_a_real_board():
    with command("--count", "20", "--every", "0.2", "--real", "1") as running:
        text = ""
        while not ("20 connected" in text and "real-0000 has published" in text):
            line = running.stdout.readline()
            assert line, running.stderr.read()
            text += line
        folder = re.search(r"--ca (\S+)/ca/ca.crt.pem", text)[1]
        running.send_signal(signal.SIGINT)
        rest, errors = running.communicate(timeout=40)
    assert running.returncode == 0, errors
    assert "0 dropped, 0 still waiting" in rest and " 0 acknowledged ones missing" in rest
    assert int(re.search(r"real-0000: (\d+) readings", rest)[1]) > 0
    assert not os.path.exists(folder)


def test_the_command_with_a_broker_elsewhere_and_json(pki, broker):
    place = ["--broker", f"localhost:{broker.port}", "--ca-dir", str(pki.authority.directory)]
    with command("--count", "3", "--every", "0.2", "--seconds", "2", "--json", *place) as running:
        out, errors = running.communicate(timeout=40)
    assert running.returncode == 0, errors
    facts = json.loads(out)
    assert facts["acknowledged"] == facts["made"] > 3 and "observer" not in facts


def test_options_of_a_fleet_need_a_count():
    with command("--real", "1") as running:
        _, errors = running.communicate(timeout=20)
    assert running.returncode == 2 and "--count" in errors
