"""A small MQTT client for tests of brokers: everything awaited, nothing slept."""

import queue
import ssl
import threading
from pathlib import Path
from typing import Self

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from host_tools.ca import Issued


class Refused(Exception):
    """The broker did not let the client in."""


class Client:
    """A client with a certificate; entering connects, or raises Refused."""

    def __init__(
        self, port: int, ca: Path, me: Issued | None, *, name: str = "", user: str | None = None,
        word: str | None = None, clean: bool = True, host: str = "localhost",
    ) -> None:  # fmt: skip
        self._place = (host, port)
        self._events: queue.Queue[str] = queue.Queue()
        self.messages: queue.Queue[tuple[str, bytes]] = queue.Queue()
        self._subscribed: queue.Queue[int] = queue.Queue()
        self.gone = threading.Event()
        context = ssl.create_default_context(cafile=str(ca))
        if me:
            context.load_cert_chain(me.cert_pem, me.key_pem)
        self.paho = client = paho.Client(CallbackAPIVersion.VERSION2, client_id=name, clean_session=clean)
        client.tls_set_context(context)
        if user is not None:
            client.username_pw_set(user, word)
        client.on_connect = lambda _c, _d, _f, reason, _p: self._events.put("refused" if reason.is_failure else "in")
        client.on_disconnect = self._disconnected
        client.on_message = lambda _c, _d, m: self.messages.put((m.topic, m.payload))
        client.on_subscribe = lambda _c, _d, _i, reasons, _p: self._subscribed.put(reasons[0].value)

    def _disconnected(self, *_: object) -> None:
        self.gone.set()
        self.paho.disconnect()  # else it would connect again, and leaving would wait for that
        self._events.put("gone")

    def __enter__(self) -> Self:
        try:
            self.paho.connect(*self._place, keepalive=30)
        except OSError as e:
            raise Refused(str(e)) from e
        self.paho.loop_start()
        if self._events.get(timeout=15) != "in":
            self.__exit__()
            raise Refused("CONNACK, or the connection closed")
        return self

    def __exit__(self, *_: object) -> None:
        self.paho.disconnect()
        self.paho.loop_stop()

    def subscribe(self, topic: str, qos: int = 1) -> bool:
        """Whether the broker agreed."""
        self.paho.subscribe(topic, qos)
        while True:
            if self.gone.is_set():
                return False
            try:
                return self._subscribed.get(timeout=0.1) < 128
            except queue.Empty:
                continue

    def publish(self, topic: str, payload: str = "x", *, retain: bool = False, timeout_s: float = 10) -> bool:
        """Publish with QoS 1; whether it was acknowledged."""
        sent = self.paho.publish(topic, payload, qos=1, retain=retain)
        for _ in range(int(timeout_s * 20)):
            if self.gone.is_set():
                return False
            sent.wait_for_publish(0.05)
            if sent.is_published():
                return True
        return False

    def next(self, timeout_s: float = 10) -> tuple[str, bytes]:
        """The next message. Raises queue.Empty."""
        return self.messages.get(timeout=timeout_s)
