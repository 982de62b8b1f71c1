"""`rootlet ca trust`: real NSS databases by certutil, and Debian's own program for the system's store."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from host_tools import ca, trust
from host_tools.failure import Exit, Failure
from host_tools.trust_places import Anchors, Nss, browsers, label
from tests.running import environment, in_a_terminal

certutil = pytest.mark.skipif(not shutil.which("certutil"), reason="certutil (libnss3-tools) is not installed")


@pytest.fixture(scope="module")
def authorities(tmp_path_factory: pytest.TempPathFactory) -> list[ca.Authority]:
    """Two CAs of the same name, as a CA and the one that replaced it."""
    folder = tmp_path_factory.mktemp("trust")
    made = [ca.init(folder / name) for name in ("first", "second")]
    made[0].issue_server(["localhost"])
    return made


def rootlet(*arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "host_tools", "ca", "trust", *arguments],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=60, env=environment(**more), check=False,
    )  # fmt: skip


def names(database: Path) -> str:
    return subprocess.run(
        ["certutil", "-L", "-d", f"sql:{database}"], capture_output=True, text=True, timeout=30, check=True
    ).stdout


@certutil
def test_install_and_remove_by_the_command_without_the_key(authorities: list[ca.Authority], tmp_path: Path) -> None:
    """The directory holds the certificate alone: what is not there is not read."""
    directory, database = tmp_path / "ca", tmp_path / "deep" / "nssdb"
    directory.mkdir()
    shutil.copy(authorities[0].cert_pem, directory)
    base = ["--dir", str(directory), "--nss", str(database)]
    for word in ("trusted now", "trusted already"):
        done = rootlet("--install", "--yes", *base)
        assert done.returncode == 0 and word in done.stdout, done.stderr
    assert label(authorities[0].cert) in names(database)
    assert database.stat().st_mode & 0o777 == 0o700
    shown = rootlet(*base).stdout
    assert "  trusted      NSS database" in shown
    for system in ("Firefox", "Debian", "Fedora", "macOS", "Windows", "Android"):
        assert system in shown
    assert "no name constraints" in shown and "can be any site" in shown
    for _ in range(2):
        done = rootlet("--remove", "--yes", *base)
        assert done.returncode == 0 and "not trusted" in done.stdout, done.stderr
    assert label(authorities[0].cert) not in names(database)


@certutil
def test_without_consent_nothing_is_changed(authorities: list[ca.Authority], tmp_path: Path) -> None:
    base = ["--ca", str(authorities[0].cert_pem), "--nss", str(tmp_path / "db")]
    done = rootlet("--install", *base)
    assert done.returncode == Exit.USAGE and "--yes" in done.stderr and "Traceback" not in done.stderr
    assert not (tmp_path / "db").exists()
    in_a_terminal(["ca", "trust", "--install", *base], "place(s)?", b"n\n", "error: nothing was changed")
    assert not (tmp_path / "db").exists()
    in_a_terminal(["ca", "trust", "--install", *base], "place(s)?", b"y\n", "trusted now")
    assert label(authorities[0].cert) in names(tmp_path / "db")
    assert rootlet("--remove", *base).returncode == Exit.USAGE
    assert label(authorities[0].cert) in names(tmp_path / "db")
    assert rootlet("--remove", "--install", *base).returncode == Exit.USAGE


@certutil
@pytest.mark.parametrize("other", [0, 1])
def test_two_cas_of_one_name_are_told_apart(authorities: list[ca.Authority], tmp_path: Path, other: int) -> None:
    place = Nss(tmp_path / "db")
    first, second = authorities[other].cert, authorities[1 - other].cert
    place.add(first)
    assert place.has(first) and not place.has(second)
    # Added by hand, by another name and without trust.
    hand = ["certutil", "-A", "-d", f"sql:{place.path}", "-n", "mine", "-t", ",,"]
    subprocess.run([*hand, "-i", authorities[1 - other].cert_pem], check=True, timeout=30)
    assert not place.has(second)
    place.add(second)
    assert place.has(second) and place.has(first) and "mine" in names(place.path)
    place.remove(second)
    assert place.has(first) and not place.has(second) and "mine" not in names(place.path)


@certutil
def test_a_database_with_a_password_or_a_damaged_one_is_reported(
    authorities: list[ca.Authority], tmp_path: Path
) -> None:
    password = tmp_path / "password"
    password.write_text("secret-of-a-profile\n")
    (tmp_path / "db").mkdir()
    subprocess.run(["certutil", "-N", "-d", f"sql:{tmp_path / 'db'}", "-f", str(password)], check=True, timeout=30)
    with pytest.raises(Failure) as caught:
        Nss(tmp_path / "db").add(authorities[0].cert)
    assert "password" in str(caught.value)
    (tmp_path / "damaged").mkdir()
    (tmp_path / "damaged" / "cert9.db").write_bytes(b"nothing of the kind" * 100)
    with pytest.raises(Failure) as caught:
        Nss(tmp_path / "damaged").add(authorities[0].cert)
    assert "damaged" in str(caught.value)


@certutil
def test_browsers_of_a_home(tmp_path: Path, authorities: list[ca.Authority], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.path.dirname(shutil.which("certutil") or ""))
    monkeypatch.setattr("host_tools.trust_places._CHROMIUMS", ("no-such-browser",))
    assert browsers(tmp_path) == []
    with pytest.raises(Failure):
        trust.install([], authorities[0].cert, print)
    for profile in ("abc.default", "xyz.work"):
        Nss(tmp_path / ".mozilla/firefox" / profile).add(authorities[1].cert)
    Nss(tmp_path / ".pki/nssdb").add(authorities[1].cert)
    found = browsers(tmp_path)
    assert len(found) == 3
    said: list[str] = []
    trust.install(found, authorities[0].cert, said.append)
    assert len(said) == 3 and all(place.has(authorities[0].cert) for place in found)
    assert [line.split()[0] for line in trust.state(found, authorities[0].cert)] == ["trusted"] * 3
    trust.remove(found, authorities[0].cert, said.append)
    assert not any(place.has(authorities[0].cert) for place in found)
    monkeypatch.setattr("host_tools.trust_places._CHROMIUMS", ("certutil",))
    assert browsers(tmp_path / "new") == [Nss(tmp_path / "new/.pki/nssdb", "Chromium and Chrome")]


@pytest.mark.parametrize("what", ["a leaf", "a key", "two", "nothing", "ended"])
def test_what_is_no_ca_is_refused(authorities: list[ca.Authority], tmp_path: Path, what: str) -> None:
    issued = authorities[0].directory / "issued"
    file = tmp_path / "file.pem"
    both = authorities[0].cert_pem.read_bytes() + authorities[1].cert_pem.read_bytes()
    make: dict[str, Callable[[], object]] = {
        "a leaf": lambda: shutil.copy(issued / "server-localhost.crt.pem", file),
        "a key": lambda: file.write_bytes((authorities[0].directory / "ca.key.pem").read_bytes()),
        "two": lambda: file.write_bytes(both),
        "nothing": lambda: None,
        "ended": lambda: shutil.copy(old(tmp_path).cert_pem, file),
    }
    make[what]()
    done = rootlet("--install", "--yes", "--ca", str(file), "--nss", str(tmp_path / "db"))
    assert done.returncode in (1, 2) and done.stderr.startswith("error: ") and "Traceback" not in done.stderr
    assert "PRIVATE" not in done.stderr and not (tmp_path / "db").exists()


def old(folder: Path) -> ca.Authority:
    from datetime import UTC, datetime

    return ca.init(
        folder / "old", not_before=datetime(2020, 1, 1, tzinfo=UTC), not_after=datetime(2021, 1, 1, tzinfo=UTC)
    )


@pytest.mark.skipif(not shutil.which("update-ca-certificates"), reason="update-ca-certificates is not installed")
def test_a_systems_store(authorities: list[ca.Authority], tmp_path: Path) -> None:
    """Debian's program, on folders of the test."""
    for name in ("local", "etc", "hooks", "shipped"):
        (tmp_path / name).mkdir()
    (tmp_path / "conf").write_text("")
    folders = {"localcertsdir": "local", "etccertsdir": "etc", "hooksdir": "hooks", "certsdir": "shipped"}
    options = [part for name, at in folders.items() for part in (f"--{name}", str(tmp_path / at))]
    command = ("update-ca-certificates", "--certsconf", str(tmp_path / "conf"), *options)
    place = Anchors(tmp_path / "local", ".crt", command, tmp_path / "etc" / "ca-certificates.crt")
    first, second = (one.cert for one in authorities)
    said: list[str] = []
    for cert in (first, second, second):
        trust.install([place], cert, said.append)
    assert [line.split()[1] for line in said] == ["now", "now", "already"]
    for _ in range(2):
        trust.remove([place], first, said.append)
    assert place.has(second) and not place.has(first)
    with pytest.raises(Failure):
        Anchors(tmp_path / "local", ".crt", ("false",), place.bundle).add(first)
