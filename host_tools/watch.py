"""An independent observer of the broker (paho-mqtt) that always verifies."""

import contextlib
import queue
import socket
import ssl
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from host_tools.failure import Exit, Failure

if TYPE_CHECKING:
    from host_tools.ca import Authority

Message = tuple[str, bytes]
CLOSED = "the broker closed the connection in the handshake"
_USUALLY = (
    "usually it refuses the certificate: none, revoked, ended, of another CA or of a name it does not list; "
    "see rootlet ca list, and the broker's log"
)
_MOST_WAITING = 10000
_MOST_BYTES = 64 << 20


class Watcher:
    """Subscribes to a topic; entering waits until the broker has agreed.

    Args:
        host, port: the broker, by a name or address in its certificate.
        ca: PEM file of the CA. cert, key: PEM files of the observer's own certificate, or neither.
        user, password: or None. topic: topic filter, or several. timeout_s: for the connection and the subscription.
        longest: payloads are cut to so many bytes; of what waits, at most 64 MB and 10,000 messages, none is lost.
        tells_gaps: after a broken connection the next message is ("", b""): what came meanwhile was not seen.
    Raises: Failure where the broker cannot be reached or verified, or does not let us watch.
    """

    def __init__(
        self,
        host: str,
        port: int,
        ca: Path,
        cert: Path | None = None,
        key: Path | None = None,
        *,
        user: str | None = None,
        password: str | None = None,
        topic: str | Sequence[str] = "rootlet/#",
        timeout_s: float = 10,
        longest: int | None = None,
        tells_gaps: bool = False,
    ) -> None:
        self._longest = longest
        self._tells_gaps = tells_gaps
        self.connected = False
        self.dropped = 0
        self._host, self._port, self._timeout_s = host, port, timeout_s
        self._topics = [topic] if isinstance(topic, str) else list(topic)
        self._messages: queue.Queue[Message] = queue.Queue(_MOST_WAITING)
        self._bytes, self._lock = 0, threading.Lock()
        self._ready = threading.Event()
        self._refusal = ""
        self._answered = False
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        try:
            context = ssl.create_default_context(cafile=str(ca))
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            if cert and key:
                # Never asked for on the terminal: an encrypted key is refused.
                context.load_cert_chain(cert, key, password="")
        except OSError as e:
            files = ", ".join(str(path) for path in (ca, cert, key) if path)
            because = f"{e.strerror or e} ({files})"[:300]
            fix = "--ca, --cert and --key take PEM files; the key is that of the certificate, and not encrypted"
            raise Failure("the certificates cannot be used", because, fix, Exit.USAGE) from None
        self._client.tls_set_context(context)
        self._client.reconnect_delay_set(1, 5)
        if user is not None:
            self._client.username_pw_set(user, password)
        self._client.on_connect = self._connected
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._received
        self._client.on_disconnect = self._disconnected

    def _connected(
        self, client: paho.Client, _data: object, _flags: object, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self._answered = True
        if reason.is_failure:
            self._refuse(str(reason))
        else:
            if self._tells_gaps and self._ready.is_set():
                with contextlib.suppress(queue.Full):
                    self._messages.put_nowait(("", b""))
            client.subscribe([(topic, 1) for topic in self._topics])

    def _subscribed(
        self, _client: paho.Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        refused = next((row for row in zip(self._topics, reasons, strict=False) if row[1].is_failure), None)
        if refused:
            # MQTT 3.1.1 has one code for all that a broker does not want.
            why = "refused" if str(refused[1]) == "Unspecified error" else refused[1]
            self._refuse(f"subscription to {refused[0]}: {why}")
        self.connected = refused is None
        self._ready.set()

    def _disconnected(
        self, _client: paho.Client, _data: object, _flags: object, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        self.connected = False
        if not self._ready.is_set():
            # With TLS 1.3 a client's certificate is judged when the client is done: no word of it comes here.
            self._refuse("the broker closed the connection at the subscription" if self._answered else CLOSED)

    def _refuse(self, why: str) -> None:
        self._refusal = self._refusal or why
        self._ready.set()

    def _received(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        payload = bytes(message.payload[: self._longest])
        try:
            if self._bytes + len(payload) > _MOST_BYTES:
                raise queue.Full
            self._messages.put_nowait((message.topic, payload))
        except (queue.Full, UnicodeDecodeError):  # a topic that is no text must not end the thread
            self.dropped += 1
            return
        with self._lock:
            self._bytes += len(payload)

    def __enter__(self) -> Self:
        place = f"{self._host}:{self._port}"
        try:
            self._client.connect_timeout = self._timeout_s
            self._client.connect(self._host, self._port, keepalive=30)
        except ssl.SSLCertVerificationError as e:
            raise Failure(
                f"{place} is not who it should be",
                e.verify_message,
                "connect by a name in its certificate, and give the CA that issued it with --ca",
                Exit.UNVERIFIED,
            ) from None
        except ssl.SSLError as e:
            because = f"{CLOSED} ({e.reason or e})" if "ALERT" in str(e.reason) else str(e)
            raise Failure(f"{place} does not let us watch", because, _USUALLY) from None
        except socket.gaierror as e:
            try_ = f"an address in place of the name, or a line for {self._host} in /etc/hosts"
            raise Failure(f"no connection to {place}", f"this machine does not know the name ({e})", try_) from None
        except OSError as e:
            fix = "start it: rootlet broker" if isinstance(e, ConnectionRefusedError) else "rootlet doctor"
            raise Failure(f"no connection to {place}", str(e), fix) from None
        self._client.loop_start()
        if not self._ready.wait(self._timeout_s) or self._refusal:
            self._stop()
            because = self._refusal or f"no answer within {self._timeout_s:g} s"
            fix = _USUALLY if because == CLOSED else "check certificate, user and the broker's ACL"
            raise Failure(f"{place} does not let us watch", because, fix)
        return self

    def _stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._stop()

    def publish(self, topic: str, payload: bytes, timeout_s: float | None = None) -> None:
        """Publish with QoS 1, not retained.

        Args: topic: text. payload: bytes. timeout_s: wait for the acknowledgement; None: it goes when it can.

        Raises TimeoutError where the broker does not acknowledge.
        """
        sent = self._client.publish(topic, payload, qos=1)
        if timeout_s is None:
            return
        try:
            sent.wait_for_publish(timeout_s)
        except (ValueError, RuntimeError):
            raise TimeoutError from None
        if not sent.is_published():
            raise TimeoutError

    def next(self, timeout_s: float | None = None) -> Message:
        """The next message as (topic, payload). Raises TimeoutError."""
        try:
            message = self._messages.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError from None
        with self._lock:
            self._bytes -= len(message[1])
        return message

    def wait_for(self, count: int, timeout_s: float) -> list[Message]:
        """The next `count` messages, all within `timeout_s` seconds. Raises TimeoutError."""
        end = time.monotonic() + timeout_s
        return [self.next(max(0.001, end - time.monotonic())) for _ in range(count)]


PATTERN = "rootlet/{device}/{sensor}"


@dataclass(frozen=True)
class Place:
    """A broker, and what an observer shows it. password: never shown. pattern: the topic of the devices' readings."""

    host: str
    port: int
    ca: Path
    cert: Path | None = None
    key: Path | None = None
    user: str | None = None
    password: str | None = field(default=None, repr=False)
    topic: str = "rootlet/#"
    pattern: str = PATTERN


OBSERVER = "observer"
OPERATOR = "operator"
_RENEW_S = 86400


def of_project(
    project: Any, unlock: Callable[[Path], "Authority"], say: Callable[[str], None], who: str = OBSERVER
) -> Place:
    """The broker of a project's devices, its CA, and an observer's certificate, which is issued where there is none.

    Args: unlock: opens the CA in a folder; called only where a certificate has to be issued. say: takes what was made.
        who: the certificate's name, OBSERVER or OPERATOR.
    Raises: Failure: usage where the devices have several brokers, or none that an observer can use.
    """
    hosts: dict[str, Any] = {}
    for device in project.devices:
        hosts.setdefault(device.host, device)
    if len(hosts) != 1:
        what = "several brokers found" if hosts else "no broker found"
        names = ", ".join(sorted(hosts)[:5]) or "the project has no device"
        raise Failure(what, names, "rootlet watch HOST:PORT --ca …", Exit.USAGE)
    ((host, device),) = hosts.items()
    mqtt = device.config["mqtt"]
    port = int(mqtt.get("port", 8883))
    ca = project.ca_dir / "ca.crt.pem"
    if not ca.is_file():
        raise Failure("the project has no CA", f"no file {ca}", "rootlet provision makes it; or --ca FILE", Exit.USAGE)
    if mqtt.get("psk"):
        because = "its devices have pre-shared keys, and an observer needs a listener with a certificate"
        raise Failure("this broker cannot be watched", because, "rootlet watch HOST:PORT --ca …", Exit.USAGE)
    pattern = str(mqtt.get("topic", PATTERN))
    topic = _filter(pattern)
    if not mqtt.get("cert"):  # a device's own login reads nothing but its commands
        return Place(host, port, ca, topic=topic, pattern=pattern)
    cert, key = identity(project.ca_dir, unlock, say, who)
    return Place(host, port, ca, cert, key, topic=topic, pattern=pattern)


def _filter(topic: str) -> str:
    """The filter that lets every device and sensor through."""
    before = topic.partition("{")[0]
    return f"{before}#" if before == "" or before.endswith("/") else f"{before.rpartition('/')[0]}/#".lstrip("/")


def identity(
    directory: Path, unlock: Callable[[Path], "Authority"], say: Callable[[str], None], who: str
) -> tuple[Path, Path]:
    """(certificate, key) of OBSERVER or OPERATOR, PEM; issued by the CA where it is absent or ends within a day."""
    from cryptography import x509

    cert, key = (directory / "issued" / f"device-{who}.{ending}.pem" for ending in ("crt", "key"))
    if cert.is_file() and key.is_file():
        try:
            end = x509.load_pem_x509_certificate(cert.read_bytes()).not_valid_after_utc.timestamp()
        except ValueError as e:
            raise Failure(f"{cert} cannot be read", str(e)[:100], f"remove {cert} and {key}") from None
        if end > time.time() + _RENEW_S:
            return cert, key
    made = unlock(directory).issue_device(who, force=cert.exists() or key.exists())
    say(f"issued a certificate for '{who}': {made.cert_pem}")
    return made.cert_pem, made.key_pem
