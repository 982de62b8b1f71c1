"""Asks a running broker for what it promises: who may come in, who may write where, and who must stay out."""

import queue
import socket
import ssl
import tempfile
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509 import Certificate

from host_tools import ca, revocation
from host_tools.ca import Authority
from host_tools.failure import Failure
from host_tools.safe_write import PRIVATE, File, make_directory, write_all
from host_tools.watch import Watcher
from host_tools.x509_build import key_bytes

DEVICE, OBSERVER, UNLISTED, REVOKED = "probe-device", "probe-observer", "probe-unlisted", "probe-revoked"
_WAIT_S = 8.0
_LIFE = timedelta(hours=1)
Files = tuple[Path, Path] | tuple[None, None]


@dataclass(frozen=True)
class Line:
    """One promise: whether it is kept, and what was seen. `kept` is None for what could not be asked."""

    promise: str
    kept: bool | None
    seen: str

    def __str__(self) -> str:
        word = {True: "ok", False: "BROKEN", None: "not asked"}[self.kept]
        return f"{word:<10} {self.promise}: {self.seen}"


class Papers:
    """Short-lived certificates in a folder of their own, which goes with them.

    Args: authority: the CA that signs them. folder: an existing one, for its owner alone.
    """

    def __init__(self, authority: Authority, folder: Path) -> None:
        self._authority = authority
        self._folder = folder
        self._made: dict[str, Certificate] = {}

    def issue(self, name: str, *, authority: Authority | None = None, expired: bool = False) -> tuple[Path, Path]:
        """Certificate and key (PEM) for an identity, for an hour; or one whose hour is over."""
        start = datetime.now(UTC).replace(microsecond=0) - (2 * _LIFE if expired else timedelta(minutes=5))
        cert, key = (authority or self._authority).sign_device(name, not_before=start, not_after=start + _LIFE)
        stem = self._folder / f"{cert.serial_number:x}"
        paths = stem.with_suffix(".crt.pem"), stem.with_suffix(".key.pem")
        write_all(
            [File(paths[0], cert.public_bytes(Encoding.PEM)), File(paths[1], key_bytes(key, Encoding.PEM), PRIVATE)]
        )
        self._made[name] = cert
        return paths

    def stranger(self, name: str) -> tuple[Path, Path]:
        """The same from a CA that nobody knows."""
        other = ca.init(self._folder / "stranger", subject="/CN=probe-stranger")
        return self.issue(name, authority=other)

    def revoke(self, name: str) -> Path:
        """A list of its own, with all that the CA has revoked and this; beside it a copy, for who goes by names."""
        path = self._folder / "probe.crl.pem"
        entries = revocation.entries(self._authority.directory)
        cert = self._made[name]
        extra = revocation.entry(cert.serial_number, datetime.now(UTC))
        copy = path.parent / "revoked" / f"{cert.serial_number:x}.crt.pem"
        make_directory(copy.parent)
        files = [
            File(copy, cert.public_bytes(Encoding.PEM)),
            File(path, revocation.signed(self._authority, [*entries, extra])),
        ]
        write_all(files, force=True, keep_backup=False)
        return path


@contextmanager
def papers(authority: Authority) -> Iterator[Papers]:
    """Papers in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="rootlet-probe-") as folder:
        yield Papers(authority, Path(folder))


@dataclass
class Probe:
    """What to ask, and by which certificates.

    Args:
        host, port: of the broker. ca: PEM file of its CA. issued: makes certificates.
        device, observer: identities that are let in there.
        unlisted: identity of the CA that is not listed there; None where any of the CA is let in.
        revoked: certificate and key that are on the broker's list, or None.
    """

    host: str
    port: int
    ca: Path
    issued: Papers
    device: str = DEVICE
    observer: str = OBSERVER
    unlisted: str | None = UNLISTED
    revoked: tuple[Path, Path] | None = None

    def run(self) -> Iterator[Line]:
        """Ask everything; a line for each promise, as it is asked. Needs some ten connections."""
        yield self._server()
        device, observer = self.issued.issue(self.device), self.issued.issue(self.observer)
        try:
            with ExitStack() as stack:
                watching = stack.enter_context(self._client(observer, "rootlet/#"))
                own = stack.enter_context(self._client(device, f"rootlet/{self.device}/cmd/#"))
                yield self._own_topic(watching, own)
                yield self._wrong_topic(watching, own, device)
                yield self._wrong_filter(watching, own, device)
                if self.unlisted:
                    yield self._unlisted(watching, own, self.issued.issue(self.unlisted))
                else:
                    yield Line("an unlisted certificate is refused", None, "any certificate of the CA is let in")
        except Failure as failure:
            yield Line("a listed device and an observer come in", False, failure.because)
        yield self._refused("no certificate is refused", (None, None))
        yield self._refused("a certificate of another CA is refused", self.issued.stranger(self.device))
        yield self._refused("an expired certificate is refused", self.issued.issue(self.device, expired=True))
        if self.revoked:
            yield self._refused("a revoked certificate is refused", self.revoked)
        else:
            yield Line("a revoked certificate is refused", None, "none is known here that is on its list")
        yield self._old_tls()

    def _client(self, files: Files, topic: str) -> Watcher:
        return Watcher(self.host, self.port, self.ca, files[0], files[1], topic=topic, timeout_s=_WAIT_S)

    def _server(self) -> Line:
        promise = "the server has the name and a chain to the CA"
        context = ssl.create_default_context(cafile=str(self.ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        try:
            with (
                socket.create_connection((self.host, self.port), timeout=_WAIT_S) as raw,
                context.wrap_socket(raw, server_hostname=self.host) as stream,
            ):
                cipher = stream.cipher()
                return Line(promise, True, f"{self.host}, {stream.version()}, {cipher[0] if cipher else '?'}")
        except ssl.SSLCertVerificationError as error:
            return Line(promise, False, str(error.verify_message))
        except OSError as error:
            return Line(promise, False, _said(error))

    def _own_topic(self, watching: Watcher, own: Watcher) -> Line:
        promise = "a device writes below its own topic and an observer sees it"
        topic = f"rootlet/{self.device}/probe"
        return Line(promise, _arrives(watching, own, topic), topic)

    def _wrong_topic(self, watching: Watcher, own: Watcher, files: Files) -> Line:
        promise = "a device cannot write below another's topic"
        topic = f"rootlet/{self.device}x/probe"
        with self._client(files, f"rootlet/{self.device}/cmd/#") as wrong:
            said = _try_publish(wrong, topic)
        got = _until_marker(watching, own, self.device)
        if got is None:
            return Line(promise, None, "the observer saw nothing any more")
        return Line(promise, topic not in got, "it arrived" if topic in got else f"{said}; nothing arrived")

    def _wrong_filter(self, watching: Watcher, own: Watcher, files: Files) -> Line:
        promise = "a device cannot read what others write"
        # Some brokers agree to any subscription and send nothing: only that nothing comes is promised.
        try:
            with self._client(files, "rootlet/#") as spy:
                # Once the observer has it, whoever else may read it has it or will at once.
                if _until_marker(watching, own, self.device) is None:
                    return Line(promise, None, "the observer saw nothing any more")
                spy.next(0.5)
        except Failure as refused:
            return Line(promise, self._alive(), refused.because)
        except (TimeoutError, queue.Empty):
            return Line(promise, True, "agreed to, and nothing was sent")
        return Line(promise, False, "it was sent another's message")

    def _unlisted(self, watching: Watcher, own: Watcher, files: Files) -> Line:
        promise = "an unlisted certificate is refused"
        topic = f"rootlet/{self.unlisted}/probe"
        try:
            with self._client(files, f"rootlet/{self.unlisted}/cmd/#") as client:
                _try_publish(client, topic)
        except Failure as refused:
            return Line(promise, True, f"refused ({refused.because})")
        got = _until_marker(watching, own, self.device)
        if got is None:
            return Line(promise, None, "the observer saw nothing any more")
        return Line(promise, False, "it wrote" if topic in got else "let in, though it may not write")

    def _refused(self, promise: str, files: Files) -> Line:
        try:
            with self._client(files, f"rootlet/{self.device}/cmd/#"):
                return Line(promise, False, "it was let in")
        except Failure as refused:
            return Line(promise, self._alive(), refused.because)

    def _alive(self) -> bool:
        """Whether the broker is there at all: nobody refuses anything at a closed port."""
        return self._server().kept is True

    def _old_tls(self) -> Line:
        promise = "TLS 1.1 is refused"
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.load_verify_locations(str(self.ca))
        # What is asked for here is what must not be had; the level lets OpenSSL ask at all.
        context.set_ciphers("ALL:@SECLEVEL=0")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            context.minimum_version = ssl.TLSVersion.TLSv1
            context.maximum_version = ssl.TLSVersion.TLSv1_1
        try:
            with (
                socket.create_connection((self.host, self.port), timeout=_WAIT_S) as raw,
                context.wrap_socket(raw, server_hostname=self.host) as stream,
            ):
                return Line(promise, False, f"it agreed to {stream.version()}")
        except ssl.SSLError as error:
            if error.reason in ("NO_PROTOCOLS_AVAILABLE", "NO_CIPHERS_AVAILABLE"):
                return Line(promise, None, f"this machine's OpenSSL cannot ask ({error.reason})")
            return Line(promise, self._alive(), _said(error))
        except OSError as error:
            return Line(promise, self._alive(), _said(error))


def _said(error: OSError) -> str:
    reason = error.reason if isinstance(error, ssl.SSLError) else error.strerror
    return str(reason or error or type(error).__name__)[:120]


def _try_publish(client: Watcher, topic: str) -> str:
    """Publish and say what came of it: a broker may refuse by silence, by an acknowledgement or by closing."""
    try:
        client.publish(topic, b"probe", 2)
    except (Failure, TimeoutError, OSError, ValueError, RuntimeError) as error:
        return "closed" if not client.connected else type(error).__name__
    return "acknowledged"


def _arrives(watching: Watcher, own: Watcher, topic: str) -> bool:
    own.publish(topic, b"probe", _WAIT_S)
    return _wait(watching, lambda seen: seen == topic) is not None


def _until_marker(watching: Watcher, own: Watcher, device: str) -> list[str] | None:
    """The topics an observer saw before a marker that a device sends now; None where the marker does not come."""
    marker = f"rootlet/{device}/probe-marker"
    try:
        own.publish(marker, b"probe", _WAIT_S)
    except (Failure, TimeoutError, OSError, ValueError, RuntimeError):
        return None
    return _wait(watching, lambda seen: seen == marker)


def _wait(watching: Watcher, wanted: Callable[[str], bool]) -> list[str] | None:
    seen: list[str] = []
    for _ in range(1000):
        try:
            topic, _payload = watching.next(_WAIT_S)
        except (queue.Empty, TimeoutError):
            return None
        if wanted(topic):
            return seen
        seen.append(topic)
    return None
