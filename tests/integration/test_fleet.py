"""A fleet loses its broker and gets it back: all return, none in a herd, nothing acknowledged is lost."""

import json
import os
import time

import pytest

from host_tools import fleet_certs
from host_tools.broker import Broker, choose
from host_tools.failure import Failure
from host_tools.fleet import Fleet
from host_tools.fleet_observer import Observer
from host_tools.fleet_report import attempts_cap, histogram_lines
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
        broker.start_again()
        with Fleet(identities, "localhost", broker.port, pki.authority.cert_pem, every_s=EVERY_S) as fleet:
            fleet.wait_for(lambda s: s["connected"] == COUNT, LONG)
            before = fleet.wait_for(lambda s: s["acknowledged"] >= 2 * COUNT, LONG)
            killed = time.time()
            broker.kill()
            fleet.wait_for(lambda s: s["connected"] == 0, 30)
            # Most have tried, and failed, more than once before there is a broker again.
            fleet.wait_for(lambda s: time.time() > killed + AWAY_S, AWAY_S + 5)
            broker.start_again()
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
    json.dumps(report.facts())
