"""The embedded broker: amqtt in a process of its own, with certificates required and topics per device.

Run as `python -m host_tools.engines.amqtt_serve SETTINGS.json`. What differs from Mosquitto: messages a device may not
publish are dropped without a word, and retained messages live in memory only.
"""

import asyncio
import hmac
import json
import signal
import ssl
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import amqtt.broker
from amqtt.broker import Broker as AmqttBroker
from amqtt.contexts import Action, BrokerConfig, ListenerConfig
from amqtt.mqtt.protocol.broker_handler import BrokerProtocolHandler
from amqtt.plugins.base import BaseAuthPlugin, BaseTopicPlugin
from amqtt.session import Session

from host_tools.engines.amqtt import MOST

_NOBODY = "0:nobody"


def common_name(der: bytes) -> str | None:
    """The common name of a client certificate (DER); None without one that can be a level of a topic."""
    from cryptography import x509
    from cryptography.x509.oid import NameOID

    names = x509.load_der_x509_certificate(der).subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    name = str(names[0].value) if names else ""
    # As a level of a topic the name is compared with filters: "+" would be everybody, "a/cmd" a part of a's.
    return None if not name or set("+#/\0") & set(name) else name


class Identity(BaseAuthPlugin):
    """Who a client is: the common name of its certificate, or a user with a password."""

    @dataclass
    class Config:
        """mtls: certificates are required; names: the identities that may come in, or None for all of the CA.
        users: user to password, for brokers without mutual TLS."""

        mtls: bool = True
        names: list[str] | None = None
        users: dict[str, str] = field(default_factory=dict)

    config: Config

    async def authenticate(self, *, session: Session) -> bool | None:
        """Whether the client may come in; names it by its certificate."""
        if self.config.mtls:
            der = session.ssl_object.getpeercert(binary_form=True) if session.ssl_object else None
            session.username = common_name(der) if der else None
            known = self.config.names is None or session.username in self.config.names
            return session.username is not None and known
        if not self.config.users:
            return True
        expected = self.config.users.get(session.username or "")
        given = session.password or ""
        return expected is not None and hmac.compare_digest(expected.encode(), given.encode())


class Topics(BaseTopicPlugin):
    """The access control list: a device writes below rootlet/ID/ and reads its commands; observers read all, and
    operators send commands, too."""

    @dataclass
    class Config:
        """observers: identities that may read everything. operators: those that may also send commands.
        home_assistant: prefix of discovery topics, or None. open: no list at all (neither mTLS nor users)."""

        observers: list[str] = field(default_factory=list)
        operators: list[str] = field(default_factory=list)
        home_assistant: str | None = None
        open: bool = False

    config: Config

    async def topic_filtering(
        self, *, session: Session | None = None, topic: str | None = None, action: Action | None = None
    ) -> bool | None:
        """Whether a client may do that with a topic."""
        if self.config.open:
            return True
        name, topic = (session.username if session else None), topic or ""
        if not name:
            return False
        if action == Action.PUBLISH:
            parts = topic.split("/")
            commands = name in self.config.operators and len(parts) == 3 and parts[::2] == ["rootlet", "cmd"]
            return commands or topic.startswith(f"rootlet/{name}/") or self._announces(name, topic)
        if name in self.config.observers or name in self.config.operators:
            prefix = self.config.home_assistant
            return topic.split("/", 1)[0] == "rootlet" or (prefix is not None and topic.startswith(f"{prefix}/"))
        return topic == f"rootlet/{name}/cmd" or topic.startswith(f"rootlet/{name}/cmd/")

    def _announces(self, name: str, topic: str) -> bool:
        """Whether it is a discovery topic of that device."""
        before, after = f"{self.config.home_assistant}/sensor/{name}/", "/config"
        entity = topic.removeprefix(before).removesuffix(after)
        return self.config.home_assistant is not None and topic == before + entity + after and "/" not in entity


class Broker(AmqttBroker):
    """amqtt with client certificates required, not optional, and TLS 1.2 at least."""

    require_certificate = True
    key_log: str | None = None
    revoked: str | None = None

    @staticmethod
    def _create_ssl_context(listener: ListenerConfig) -> ssl.SSLContext:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(str(listener.certfile), str(listener.keyfile))
        if Broker.require_certificate:
            context.load_verify_locations(str(listener.cafile))
            context.verify_mode = ssl.CERT_REQUIRED
            if Broker.revoked:
                context.load_verify_locations(Broker.revoked)
                context.verify_flags |= ssl.VERIFY_CRL_CHECK_LEAF
        if Broker.key_log:
            context.keylog_filename = Broker.key_log
        return context

    async def _handle_disconnect(
        self, client_session: Session, handler: BrokerProtocolHandler, disconnect_waiter: "asyncio.Future[Any]"
    ) -> None:
        # amqtt asks nobody whether a last will may be published, and so any device could write anywhere by dying.
        topic = client_session.will_topic
        if client_session.will_flag and not await self._topic_filtering(client_session, topic or "", Action.PUBLISH):
            client_session.will_flag = False
        await super()._handle_disconnect(client_session, handler, disconnect_waiter)

    async def _publish_retained_messages_for_subscription(
        self, subscription: tuple[str, int], session: Session
    ) -> None:
        # amqtt gives each client that connects the retained messages of everybody's subscriptions, past the list.
        if any(holder.client_id == session.client_id for holder, _ in self._subscriptions.get(subscription[0], ())):
            await super()._publish_retained_messages_for_subscription(subscription, session)


class Handler(BrokerProtocolHandler):
    """Keeps the sessions of different identities apart.

    amqtt hands a session to whoever names its client id, before it asks who that is, and then asks the session's old
    connection: whoever knew the client id of an operator was one.
    """

    identity: Identity

    @classmethod
    async def init_from_connect(cls, *args: Any, **kwargs: Any) -> Any:
        """A client id that begins with who it is; one for all those who may not come in."""
        handler, session = await super().init_from_connect(*args, **kwargs)
        if not await cls.identity.authenticate(session=session):
            session.client_id, session.clean_session, session.will_flag = _NOBODY, True, False
        elif session.client_id:
            name = session.username or ""
            session.client_id = f"{len(name)}:{name}:{session.client_id}"
        return handler, session


async def serve(settings: dict[str, Any]) -> None:
    """Run until SIGTERM or SIGINT.

    Args: settings: bind, port, cert, key, ca, mtls, observers, operators, devices, users,
        home_assistant, revoked (a file or None), key_log (a file or None; for captures only).
    """
    Broker.require_certificate = settings["mtls"]
    Broker.key_log = settings.get("key_log")
    Broker.revoked = settings.get("revoked")
    devices = settings.get("devices")
    names = None if devices is None else [*devices, *settings["observers"], *settings["operators"]]
    here = "host_tools.engines.amqtt_serve"
    config = {
        "listeners": {
            "default": {
                "type": "tcp",
                "bind": f"{settings['bind']}:{settings['port']}",
                "max_connections": MOST,
                "ssl": True,
                "cafile": settings["ca"],
                "certfile": settings["cert"],
                "keyfile": settings["key"],
            }
        },
        "plugins": {
            f"{here}.Identity": {"mtls": settings["mtls"], "names": names, "users": settings["users"]},
            f"{here}.Topics": {
                "observers": settings["observers"],
                "operators": settings["operators"],
                "home_assistant": settings.get("home_assistant"),
                "open": not settings["mtls"] and not settings["users"],
            },
        },
    }
    Handler.identity = Identity.__new__(Identity)
    Handler.identity.config = Identity.Config(**config["plugins"][f"{here}.Identity"])
    amqtt.broker.BrokerProtocolHandler = Handler
    broker = Broker(BrokerConfig.from_dict(config))
    ending = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ending.set)
    await broker.start()
    await ending.wait()
    await broker.shutdown()


if __name__ == "__main__":
    asyncio.run(serve(json.loads(Path(sys.argv[1]).read_text())))
