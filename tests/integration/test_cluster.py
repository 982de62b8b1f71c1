"""A node of a cluster dies under load: its devices go to the others, and nothing that was acknowledged is lost.

The control is the same with one Mosquitto, which writes what it has acknowledged to its disk only now and then.
"""

import os
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from host_tools import fleet_certs
from host_tools.broker import Broker
from host_tools.cluster import Cluster, local_nodes
from host_tools.engines import table
from host_tools.fleet import Fleet
from host_tools.fleet_observer import Observer
from host_tools.sim.real_boards import real_boards
from tests.integration.conftest import Pki

COUNT = int(os.environ.get("ROOTLET_CLUSTER_DEVICES", "20"))
KILLS = int(os.environ.get("ROOTLET_CLUSTER_KILLS", "1"))
EVERY_S = 0.5
_PATIENCE_S = 30.0
CLUSTERED = [name for name in table.NAMES if getattr(table.engine(name), "CLUSTER", False)]
NAMES = fleet_certs.names(COUNT, "sim")


def observer(pki: Pki, place: tuple[str, int], name: str) -> Observer:
    mine = pki.clients["observer"]
    return Observer(*place, pki.authority.cert_pem, mine.cert_pem, mine.key_pem, name)


def fleet(pki: Pki, places: list[tuple[str, int]], folder: Path) -> Fleet:
    identities = fleet_certs.issue(pki.authority, NAMES, folder)
    return Fleet(
        identities,
        *places[0],
        pki.authority.cert_pem,
        every_s=EVERY_S,
        processes=1,
        drain_s=30,
        brokers=places[1:],
        mqtt={"retry_first_s": 1, "retry_longest_s": 4},
    )


@contextmanager
def board(pki: Pki, places: list[tuple[str, int]], folder: Path) -> Iterator[str]:
    """A virtual board whose first broker is the second of these: real MicroPython, which decides where it goes."""
    others = [{"host": host, "port": port} for host, port in (places[2], places[0])]
    mqtt = {"brokers": others, "retry_first_s": 1, "retry_longest_s": 4}
    roots = pki.authority.cert_pem
    with real_boards(1, pki.authority, roots, *places[1], folder, 0.5, mqtt) as running:
        yield next(iter(running))


@pytest.mark.parametrize("engine", CLUSTERED)
@pytest.mark.timeout(120 + 60 * KILLS)
def test_a_node_dies_and_no_acknowledged_reading_is_lost(pki: Pki, engine: str, tmp_path: Path) -> None:
    if not table.engine(engine).find():
        pytest.skip(f"{engine} is not installed: {table.engine(engine).INSTALL}")
    if engine == "rabbitmq" and not os.environ.get("ROOTLET_RABBIT"):
        pytest.skip("three nodes of RabbitMQ take a minute: ROOTLET_RABBIT=1")
    rand = random.Random(7)
    nodes = local_nodes(pki.authority, 3)
    places = [(node.address, node.port) for node in nodes]
    began = time.monotonic()
    with Cluster(
        nodes, pki.authority.cert_pem, workdir=tmp_path, engine=engine, devices=[*NAMES, "real-0000"]
    ) as cluster:
        with observer(pki, places[0], "away"):
            pass  # its session stays, and gathers
        print(f"\n{engine}: three nodes and a session {time.monotonic() - began:.1f} s")
        longest, moved = 0.0, False
        with (
            observer(pki, places[0], "at-0") as first,
            observer(pki, places[1], "at-1") as second,
            fleet(pki, places, tmp_path) as devices,
            board(pki, places, tmp_path) as name,
        ):
            devices.wait_for(lambda s: s["connected"] == COUNT, 30)
            first.wait_of(name, 2, 30)
            for _ in range(KILLS):
                # Three readings of each before, and three after.
                acked = devices.state().get("acknowledged", 0) + 3 * COUNT
                state = devices.wait_for(lambda s, n=acked: s["acknowledged"] >= n, 30)
                tries, acked = state["attempts"], state["acknowledged"] + 3 * COUNT
                victim = rand.randrange(3) if moved else 1  # the first broker of the board
                real = first.of(name)
                killed = time.monotonic()
                cluster.kill(victim)
                if not moved:  # after some kills a node may have no device
                    devices.wait_for(lambda s, n=tries: s["attempts"] > n, 30)
                    moved = True
                devices.wait_for(lambda s, n=acked: s["connected"] == COUNT and s["acknowledged"] >= n, 60)
                first.wait_of(name, real + 2, 60)
                longest = max(longest, time.monotonic() - killed)
                cluster.start(victim)
            report = devices.stop()
            facts = [seen.settled(report.acked, devices.boot, _PATIENCE_S, _PATIENCE_S) for seen in (first, second)]
        with observer(pki, places[2], "away") as late:
            facts.append(late.settled(report.acked, devices.boot, _PATIENCE_S, _PATIENCE_S))
    print(f"{KILLS} kills, {report.state['acknowledged']} readings acknowledged, {facts}, back within {longest:.1f} s")
    assert [fact["missing"] for fact in facts] == [0, 0, 0]
    assert report.state["dropped"] == 0 and report.state["waiting"] == 0
    assert report.state["made"] == report.state["acknowledged"]


@pytest.mark.parametrize("engine", ["mosquitto", "nats"])
def test_one_broker_alone_is_killed(pki: Pki, engine: str, tmp_path: Path) -> None:
    """Mosquitto loses what it kept for an observer who was away. One NATS has it in files: it keeps all."""
    if not table.engine(engine).find():
        pytest.skip(f"{engine} is not installed: {table.engine(engine).INSTALL}")
    files = (pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem)
    with Broker(*files, workdir=tmp_path, engine=engine, sessions=True, devices=NAMES) as broker:
        place = ("localhost", broker.port)
        with observer(pki, place, "away"):
            pass
        broker.restart()  # in order: the session itself is on the disk from here
        with fleet(pki, [place], tmp_path) as devices:
            before = devices.wait_for(lambda s: s["acknowledged"] >= 3 * COUNT, 30)
            broker.kill()
            devices.wait_for(lambda s: s["connected"] == 0, 30)
            broker.restart()
            devices.wait_for(lambda s: s["acknowledged"] >= before["acknowledged"] + 3 * COUNT, 40)
            report = devices.stop()
        with observer(pki, place, "away") as late:
            facts = late.settled(report.acked, devices.boot)
    print(f"\n{engine}: {report.state['acknowledged']} readings acknowledged, {facts}")
    assert facts["readings"] > 0
    assert facts["missing"] >= COUNT if engine == "mosquitto" else facts["missing"] == 0
