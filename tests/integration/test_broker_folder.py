"""Where `rootlet broker` writes: a folder of the project, for one broker at a time."""

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from host_tools import folder_lock, paths
from host_tools.broker import Broker
from host_tools.commands.broker import _build
from host_tools.failure import Failure
from host_tools.paths import FIRMWARE, ROOT
from tests.integration.conftest import Pki


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "sub").mkdir()
    (tmp_path / "rootlet.toml").write_text("")
    return tmp_path.resolve()


def broker(pki: Pki, folder: Path) -> Broker:
    return Broker(pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem, workdir=folder)


def command(pki: Pki, cwd: Path, *words: str) -> subprocess.Popen[str]:
    line = [sys.executable, "-m", "host_tools", "broker", "--ca-dir", str(pki.folder / "ca"), "--port", "0", *words]
    return subprocess.Popen(
        line, cwd=cwd, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{FIRMWARE}", "PYTHONUNBUFFERED": "1"},
    )  # fmt: skip


@pytest.fixture
def running(pki: Pki, project: Path) -> Iterator[subprocess.Popen[str]]:
    process = command(pki, project / "sub")
    assert process.stdout and " on 127.0.0.1:" in process.stdout.readline()
    yield process
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=15)


@pytest.mark.parametrize("more", [(), ("--check",)], ids=["run", "check"])
def test_of_two_commands_in_a_project_the_second_is_refused(
    pki: Pki, project: Path, running: subprocess.Popen[str], more: tuple[str, ...]
) -> None:
    assert (project / "build" / "broker" / "log.txt").is_file()  # the project's, though it runs in a folder of it
    second = command(pki, project, *more)
    said = second.communicate(timeout=30)[0]
    assert second.returncode == 1, said
    assert len(said.splitlines()) == 3
    holder = re.search(r"process (\d+)", said)
    assert holder and os.getpgid(int(holder[1]))
    assert str(project / "build" / "broker") in said
    if not more:
        elsewhere = command(pki, project, "--folder", str(project / "build-2"))
        assert elsewhere.stdout and " on 127.0.0.1:" in elsewhere.stdout.readline()
        elsewhere.send_signal(signal.SIGINT)
        elsewhere.communicate(timeout=15)


def test_the_lock_lasts_as_long_as_the_broker_and_no_longer(pki: Pki, tmp_path: Path) -> None:
    first, second = broker(pki, tmp_path), broker(pki, tmp_path)
    with first:
        with pytest.raises(Failure, match="uses that folder already") as refused, second:
            pass
        assert f"process {first.pid} " in refused.value.because
        first.restart()
    with second:
        second.kill()
    with first:
        # As if the command had been killed: the broker itself goes on writing.
        assert first._lock
        first._lock.close()
        with pytest.raises(Failure, match="uses that folder already"), second:
            pass
        first.kill()
        with second:
            pass


def test_what_did_not_start_gives_the_folder_back(pki: Pki, tmp_path: Path) -> None:
    with broker(pki, tmp_path / "a") as other:
        taken = Broker(
            pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem, workdir=tmp_path / "b", port=other.port
        )
        with pytest.raises(Failure, match="cannot start there"), taken:
            pass
    folder_lock.hold(tmp_path / "b" / "broker").close()


def test_git_would_not_take_what_a_broker_keeps(pki: Pki, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True, timeout=20)
    status = ["git", "-C", str(tmp_path), "status", "--porcelain", "-uall"]
    with broker(pki, tmp_path / "build"):
        assert subprocess.run(status, capture_output=True, check=True, timeout=20).stdout == b""


def test_the_folder_is_the_projects_or_this_one(
    project: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(project / "sub")
    assert _build(None) == project / "build"
    assert _build(Path("x")) == Path("x")
    outside = tmp_path_factory.mktemp("outside")
    monkeypatch.chdir(outside)
    assert _build(None) == outside / "build"


def test_an_installed_package_writes_into_the_users_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    assert paths._build(tmp_path / "site-packages") == tmp_path / "cache" / "rootlet"
    assert paths._build(ROOT) == ROOT / "build"


def test_a_cluster_is_the_projects_too(pki: Pki, project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from host_tools import cluster
    from host_tools.commands.app import app

    seen: list[Path] = []

    def refuse(*_: object, workdir: Path, **__: object) -> None:
        seen.append(workdir)
        raise Failure("seen", "", "")

    monkeypatch.setattr(cluster, "Cluster", refuse)
    monkeypatch.setattr(cluster, "local_nodes", lambda *_: [])
    monkeypatch.chdir(project)
    CliRunner().invoke(app, ["broker", "--cluster", "3", "--ca-dir", str(pki.folder / "ca")])
    assert seen == [project / "build" / "cluster"]
