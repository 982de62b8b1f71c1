"""umqtt.simple is taken only with the pinned hash, kept, checked again, and used offline."""

import io
import socket
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from host_tools import umqtt
from host_tools.failure import Exit, Failure


def offline() -> bytes:
    raise AssertionError("the network was used")


@pytest.fixture(scope="module")
def fetched(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return umqtt.fetch(tmp_path_factory.mktemp("build"))


def sdist(name: str, data: bytes) -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w:gz") as archive:
        info = tarfile.TarInfo(name)
        info.size = len(data)
        archive.addfile(info, io.BytesIO(data))
    return out.getvalue()


def test_the_real_release_imports_on_micropython(fetched: Path) -> None:
    assert fetched.name == "umqtt-1.3.4"
    assert [p.relative_to(fetched).as_posix() for p in fetched.rglob("*") if p.is_file()] == ["umqtt/simple.py"]
    code = (
        f"import sys; sys.path.insert(0, {str(fetched)!r}); from umqtt.simple import MQTTClient as M; print(M.publish)"
    )
    done = subprocess.run(
        [Path(sys.executable).parent / "micropython", "-c", code],
        capture_output=True, text=True, timeout=20, check=False,
    )  # fmt: skip
    assert "function publish" in done.stdout, done.stdout + done.stderr


def test_a_good_copy_is_used_offline(fetched: Path) -> None:
    assert umqtt.fetch(fetched.parent, offline) == fetched


def test_a_changed_copy_is_fetched_again(fetched: Path, tmp_path: Path) -> None:
    module = tmp_path / "umqtt-1.3.4" / "umqtt" / "simple.py"
    module.parent.mkdir(parents=True)
    module.write_bytes((fetched / "umqtt" / "simple.py").read_bytes() + b"#\n")
    with pytest.raises(AssertionError, match="network"):
        umqtt.fetch(tmp_path, offline)


@pytest.mark.parametrize(
    "data", [b"", b"not an archive", sdist("micropython-umqtt.simple-1.3.4/umqtt/simple.py", b"evil")]
)
def test_a_wrong_hash_is_refused_and_leaves_nothing(tmp_path: Path, data: bytes) -> None:
    with pytest.raises(Failure) as caught:
        umqtt.fetch(tmp_path, lambda: data)
    assert caught.value.code is Exit.UNVERIFIED
    assert umqtt.SDIST_SHA256 in caught.value.because
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["micropython-umqtt.simple-1.3.4/umqtt/simple.py", "../../umqtt/simple.py"])
def test_the_module_itself_is_pinned_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import hashlib

    data = sdist(name, b"evil")
    monkeypatch.setattr(umqtt, "SDIST_SHA256", hashlib.sha256(data).hexdigest())
    with pytest.raises(Failure, match="refused"):
        umqtt.fetch(tmp_path, lambda: data)
    assert list(tmp_path.iterdir()) == []


def test_an_unreachable_index_is_named_without_its_password(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as unused:  # bound but not listening, so a connection is refused at once
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("PIP_INDEX_URL", f"http://user:hunter2@127.0.0.1:{unused.getsockname()[1]}/simple")
        with pytest.raises(Failure, match="cannot download") as caught:
            umqtt.fetch(tmp_path)
    assert "hunter2" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []
