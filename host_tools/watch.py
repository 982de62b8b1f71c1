"""An independent observer of the broker (paho-mqtt) that always verifies."""

import queue
import ssl
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from host_tools.failure import Exit, Failure

Message = tuple[str, bytes]
_MOST_WAITING = 10000


class Watcher:
    """Subscribes to a topic; entering waits until the broker has agreed.

    Args:
        host, port: the broker, by a name or address in its certificate.
        ca: PEM file of the CA. cert, key: PEM files of the observer's own certificate, or neither.
        user, password: or None. topic: topic filter. timeout_s: for the connection and the subscription.
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
        topic: str = "rootlet/#",
        timeout_s: float = 10,
    ) -> None:
        self._host, self._port, self._topic, self._timeout_s = host, port, topic, timeout_s
        self._messages: queue.Queue[Message] = queue.Queue(_MOST_WAITING)
        self._ready = threading.Event()
        self._refusal = ""
        self._client = paho.Client(CallbackAPIVersion.VERSION2)
        context = ssl.create_default_context(cafile=str(ca))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        if cert and key:
            context.load_cert_chain(cert, key)
        self._client.tls_set_context(context)
        if user is not None:
            self._client.username_pw_set(user, password)
        self._client.on_connect = self._connected
        self._client.on_subscribe = self._subscribed
        self._client.on_message = self._received
        self._client.on_disconnect = self._disconnected

    def _connected(
        self, client: paho.Client, _data: object, _flags: object, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if reason.is_failure:
            self._refuse(str(reason))
        else:
            client.subscribe(self._topic, qos=1)

    def _subscribed(
        self, _client: paho.Client, _data: object, _mid: int, reasons: list[ReasonCode], _properties: Properties | None
    ) -> None:
        if reasons[0].is_failure:
            self._refuse(f"subscription to {self._topic}: {reasons[0]}")
        self._ready.set()

    def _disconnected(
        self, _client: paho.Client, _data: object, _flags: object, reason: ReasonCode, _properties: Properties | None
    ) -> None:
        if not self._ready.is_set():
            self._refuse(str(reason))

    def _refuse(self, why: str) -> None:
        self._refusal = self._refusal or why
        self._ready.set()

    def _received(self, _client: paho.Client, _data: object, message: paho.MQTTMessage) -> None:
        try:
            self._messages.put_nowait((message.topic, bytes(message.payload)))
        except queue.Full:
            self._refuse(f"more than {_MOST_WAITING} messages were waiting to be read")

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
        except OSError as e:
            raise Failure(f"no connection to {place}", str(e), "rootlet broker --help") from None
        self._client.loop_start()
        if not self._ready.wait(self._timeout_s) or self._refusal:
            self._stop()
            because = self._refusal or f"no answer within {self._timeout_s:g} s"
            raise Failure(f"{place} does not let us watch", because, "check certificate, user and the broker's ACL")
        return self

    def _stop(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._stop()

    def next(self, timeout_s: float | None = None) -> Message:
        """The next message as (topic, payload). Raises TimeoutError."""
        try:
            return self._messages.get(timeout=timeout_s)
        except queue.Empty:
            raise TimeoutError from None

    def wait_for(self, count: int, timeout_s: float) -> list[Message]:
        """The next `count` messages, all within `timeout_s` seconds. Raises TimeoutError."""
        end = time.monotonic() + timeout_s
        return [self.next(max(0.001, end - time.monotonic())) for _ in range(count)]
