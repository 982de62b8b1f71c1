"""pending: an update that was asked for is tried once, whatever its file holds."""

import json
from pathlib import Path

import pytest

from rootlet import pending


@pytest.fixture(autouse=True)
def flash(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_it_is_kept_and_taken_once(flash: Path) -> None:
    pending.ask("u1", "https://example.org/list")
    assert [path.name for path in flash.iterdir()] == ["update.json"]
    assert pending._taken() == ("u1", "https://example.org/list")
    assert pending._taken() is None


@pytest.mark.parametrize(
    "text",
    ["", "[", "[]", "[1]", "{}", "7", "null", '["a", "b", "c"]', "x" * 5000, json.dumps(["u", "https://x" * 400])],
)
def test_nonsense_is_let_go_at_once(flash: Path, text: str) -> None:
    (flash / "update.json").write_text(text)
    assert pending._taken() is None
    assert not list(flash.iterdir())
