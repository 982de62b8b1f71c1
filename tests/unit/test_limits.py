"""What a person is told about how many connections fit."""

import resource

import pytest

from host_tools import limits


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
