"""A throw-away CA for the chaos tests."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from host_tools.paths import FIRMWARE
from tests.chaos.scene import Pki, Scene, make_pki


@pytest.fixture(scope="session")
def chaos_pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    return make_pki(tmp_path_factory.mktemp("chaos"))


@pytest.fixture
def scene(chaos_pki: Pki, tmp_path: Path) -> Iterator[Scene]:
    if not (FIRMWARE / "rootlet" / "outbox.py").exists():
        pytest.skip("this gateway has no outbox")
    with Scene(chaos_pki, tmp_path) as running:
        yield running
