"""The measuring of brokers counts what is there."""

import ssl
from pathlib import Path

import pytest

from host_tools import bench_brokers
from host_tools.engines import table
from host_tools.failure import Failure


@pytest.mark.parametrize("engine", ["mosquitto", "nats"])
def test_a_broker_is_measured(engine: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not table.engine(engine).find():
        pytest.skip(f"{engine} is not installed: {table.engine(engine).INSTALL}")
    monkeypatch.setattr(bench_brokers, "_SENDING_S", 0.2)
    monkeypatch.setattr(bench_brokers, "_SETTLE_S", 0.1)
    found = bench_brokers.load(engine, tmp_path, (0, 40))
    assert list(found.resident) == [0, 40] and found.resident[0] > 1 << 20
    assert 2_000 < found.each < 2_000_000
    assert found.messages > 100


def test_a_broker_that_is_not_there_is_refused_before_anything_is_measured(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench_brokers, "handshakes", lambda *_: pytest.fail("measured"))
    with pytest.raises(Failure, match="no such broker"):
        bench_brokers.run(pytest.fail, ["foo"])


def test_a_handshake_costs_time(tmp_path: Path) -> None:
    assert 10 < bench_brokers.handshakes("p256", ssl.TLSVersion.TLSv1_2, tmp_path, rounds=5) < 100_000
