"""Where browsers and systems keep the CAs they trust: NSS databases and the system's folder of anchors."""

import contextlib
import os
import re
import shutil
import sqlite3
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from host_tools import certinfo
from host_tools.failure import Failure
from host_tools.safe_write import File, make_directory, write_all

INSTALL_NSS = "apt-get install libnss3-tools (Fedora: nss-tools, macOS: brew install nss)"
_TIMEOUT_S = 60
# Server certificates only: neither e-mail nor signed code, nor client certificates.
_TRUST = "C,,"
# CKO_CERTIFICATE, as the database keeps numbers.
_CERTIFICATE = b"\x00\x00\x00\x01"
_CHROMIUMS = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "brave-browser",
    "microsoft-edge",
)
_FIREFOX = (
    ".mozilla/firefox",
    ".config/mozilla/firefox",
    "snap/firefox/common/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/.mozilla/firefox",
    "Library/Application Support/Firefox/Profiles",
)


class Place(Protocol):
    """Somewhere a CA can be trusted. Every method raises Failure where the place cannot be read or written."""

    @property
    def title(self) -> str:
        """What uses it, and where it is."""

    def has(self, cert: x509.Certificate) -> bool:
        """Whether this very certificate is in it, trusted for servers."""

    def add(self, cert: x509.Certificate) -> None:
        """Put it in; nothing where it is in already."""

    def remove(self, cert: x509.Certificate) -> None:
        """Take it out; nothing where it is not in."""


def label(cert: x509.Certificate) -> str:
    """What a list of trusted CAs calls it: its name and the start of its fingerprint, so that two never collide."""
    names = cert.subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    name = re.sub(r"[^\w .,()'-]", "_", str(names[0].value), flags=re.ASCII) if names else "Rootlet CA"
    return f"{name[:64].strip() or 'Rootlet CA'} {certinfo.sha256(cert)[:16]}"


def _run(command: list[str], what: str, try_: str) -> subprocess.CompletedProcess[str]:
    try:
        return subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, text=True, errors="replace", timeout=_TIMEOUT_S,
            check=False, env={**os.environ, "LC_ALL": "C"},
        )  # fmt: skip
    except FileNotFoundError:
        raise Failure(what, f"the program {command[0]} is not installed", try_) from None
    except subprocess.TimeoutExpired:
        raise Failure(what, f"{command[0]} did not end within {_TIMEOUT_S} s", try_) from None


@dataclass(frozen=True)
class Nss:
    """An NSS database: Chromium's and Chrome's on Linux, and one in each Firefox profile. It is made when absent."""

    path: Path
    user: str = "NSS database"

    @property
    def title(self) -> str:
        """What uses it, and where it is."""
        return f"{self.user}  {self.path}"

    def _certutil(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = ["certutil", *arguments[:1], "-d", f"sql:{self.path}", *arguments[1:]]
        return _run(command, f"cannot use {self.path}", INSTALL_NSS)

    def _must(self, *arguments: str) -> str:
        done = self._certutil(*arguments)
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
            if "password" in said.lower() or "authenticate" in said.lower():
                said += " (it has a password of its own)"
            raise Failure(
                f"cannot use {self.path}", said, "close the browser and try again, or add the CA in its settings"
            )
        return done.stdout

    def _find(self, cert: x509.Certificate) -> tuple[str, str] | None:
        """Name and trust flags of this very certificate there: it may have been added by hand under another name.

        certutil shows under a name every certificate of the same subject, as two CAs made one after the other have, so
        that which is which is read from the database itself: its table of public objects (PKCS #11 attributes by
        number: class 0, label 3, value 11).
        """
        file = self.path / "cert9.db"
        if not file.exists():
            return None
        try:
            with contextlib.closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True, timeout=5)) as base:
                mine = base.execute("SELECT a3 FROM nssPublic WHERE a11 = ?", (certinfo.der(cert),)).fetchone()
                if mine is None:
                    return None
                same = base.execute("SELECT COUNT(*) FROM nssPublic WHERE a3 = ? AND a0 = ?", (mine[0], _CERTIFICATE))
                alone = same.fetchone()[0] == 1
        except sqlite3.Error as error:
            raise Failure(f"cannot read {file}", str(error), "close the browser and try again") from None
        name = bytes(mine[0] or b"").decode("utf-8", "replace")
        if not name or not alone:
            because = f"two certificates there are called {name!r}, and certutil tells them apart by name only"
            raise Failure(f"cannot use {self.path}", because, "remove them in the browser's settings")
        flags = re.search(rf"^{re.escape(name)} +([a-zA-Z]*),[a-zA-Z]*,[a-zA-Z]* *$", self._must("-L"), re.MULTILINE)
        return name, flags[1] if flags else ""

    def has(self, cert: x509.Certificate) -> bool:
        """Whether it is in, with the flag C, and certutil's own check of it as a CA of servers succeeds."""
        found = self._find(cert)
        if found is None or "C" not in found[1]:
            return False
        return self._certutil("-V", "-n", found[0], "-u", "L").returncode == 0

    def add(self, cert: x509.Certificate) -> None:
        """Put it in, trusted for servers only; the database is made, without a password, where there is none."""
        if not (self.path / "cert9.db").exists():
            make_directory(self.path)
            self._must("-N", "--empty-password")
        found = self._find(cert)
        if found is not None:
            self._must("-M", "-n", found[0], "-t", _TRUST)
            return
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "ca.pem"
            file.write_bytes(cert.public_bytes(Encoding.PEM))
            self._must("-A", "-n", label(cert), "-t", _TRUST, "-i", str(file))

    def remove(self, cert: x509.Certificate) -> None:
        """Take it out, whatever its name there."""
        found = self._find(cert)
        if found is not None:
            self._must("-D", "-n", found[0])


@dataclass(frozen=True)
class Anchors:
    """A system's folder of added CAs, and the program that makes the system's bundle from it. Needs root."""

    folder: Path
    ending: str
    command: tuple[str, ...]
    bundle: Path

    @property
    def title(self) -> str:
        """What uses it, and where it is."""
        return f"the whole system (curl, Python, …)  {self.folder}"

    def _file(self, cert: x509.Certificate) -> Path:
        return self.folder / f"rootlet-{certinfo.sha256(cert)[:16]}{self.ending}"

    def has(self, cert: x509.Certificate) -> bool:
        """Whether it is in the bundle that programs read."""
        if not self.bundle.exists():
            return False
        wanted = cert.public_bytes(Encoding.PEM).split()
        return b"".join(wanted) in b"".join(self.bundle.read_bytes()[: certinfo.MAX_BYTES].split())

    def add(self, cert: x509.Certificate) -> None:
        """Put it into the folder and make the bundle anew."""
        write_all([File(self._file(cert), cert.public_bytes(Encoding.PEM))], force=True, keep_backup=False)
        self._renew()

    def remove(self, cert: x509.Certificate) -> None:
        """Take it out of the folder and make the bundle anew."""
        path = self._file(cert)
        try:
            path.unlink()
        except FileNotFoundError:
            return
        except OSError as error:
            raise Failure(f"cannot remove {path}", error.strerror or str(error), "the same command with sudo") from None
        self._renew()

    def _renew(self) -> None:
        what = f"cannot make {self.bundle} anew"
        done = _run(list(self.command), what, f"sudo {' '.join(self.command)}")
        if done.returncode:
            said = (done.stderr.strip() or done.stdout.strip() or f"exit code {done.returncode}").splitlines()[-1]
            raise Failure(what, said, f"sudo {' '.join(self.command)}")


SYSTEMS = (
    Anchors(
        Path("/usr/local/share/ca-certificates"),
        ".crt",
        ("update-ca-certificates",),
        Path("/etc/ssl/certs/ca-certificates.crt"),
    ),
    Anchors(
        Path("/etc/pki/ca-trust/source/anchors"),
        ".pem",
        ("update-ca-trust",),
        Path("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"),
    ),
)


def browsers(home: Path) -> list[Place]:
    """The databases of the browsers of one person: Chromium's (also where it is still to be made) and Firefox's."""
    found: list[Place] = []
    usual = home / ".pki" / "nssdb"
    chromium = [usual, home / ".local/share/pki/nssdb", home / "snap/chromium/current/.pki/nssdb"]
    there = [path for path in chromium if (path / "cert9.db").exists()]
    if not there and any(shutil.which(name) for name in _CHROMIUMS):
        there = [usual]
    found += [Nss(path, "Chromium and Chrome") for path in there]
    for folder in _FIREFOX:
        found += [Nss(path.parent, "Firefox profile") for path in sorted((home / folder).glob("*/cert9.db"))]
    return found


def systems() -> list[Place]:
    """The system's own store, where its program is installed."""
    return [one for one in SYSTEMS if one.folder.is_dir() and shutil.which(one.command[0])]
