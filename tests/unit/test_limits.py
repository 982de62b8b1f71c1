"""What a person is told about how many connections fit."""

import resource

import pytest

from host_tools import limits
from host_tools.engines import table


@pytest.mark.parametrize(("soft", "hard", "now", "more"), [(256, 4096, 4096, True), (1024, 1 << 20, 1 << 20, False)])
def test_the_limit_and_how_to_raise_it(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, now: int, more: bool
) -> None:
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (soft, hard))
    monkeypatch.setattr(resource, "setrlimit", lambda _what, _limits: None)
    lines = limits.told(("one file for a connection", "+Q for ports"))
    assert lines[0].startswith(f"files: limit {now} (soft {soft}, hard {hard}): about {now - 64} connections; one file")
    assert "+Q for ports" in lines[1]
    assert ("LimitNOFILE" in lines[-1]) is more


def test_more_files_are_not_advised_to_a_broker_with_a_bound_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    amqtt = table.engine("amqtt")
    monkeypatch.setattr(resource, "setrlimit", lambda _what, _limits: None)
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (256, 4096))
    (line,) = limits.told(amqtt.LIMITS, amqtt.MOST)
    assert "about 1000 connections" in line and "own bound" in line
    monkeypatch.setattr(resource, "getrlimit", lambda _what: (256, 256))
    monkeypatch.setattr(limits, "raise_files", lambda: 256)
    assert "LimitNOFILE=1064 " in limits.told(amqtt.LIMITS, amqtt.MOST)[-1]
