"""RabbitMQ with its MQTT plugin: for three machines and many services; a user for each identity, and no others.

All it writes lies in the settings' folder; nothing of the system's own RabbitMQ is read or touched. Configuration:
https://www.rabbitmq.com/docs/mqtt, /docs/ssl, /docs/definitions and /docs/access-control, as of 3.10.
"""

import base64
import hashlib
import json
import os
import secrets
import shutil
import sys
from pathlib import Path

from host_tools import revocation
from host_tools.engines import crl_folder
from host_tools.engines import rabbitmq_nodes as nodes
from host_tools.engines.rabbitmq_access import Rights, anybody_known, rights
from host_tools.engines.settings import Settings, Start, accepts, no_shared_keys, private
from host_tools.failure import Exit, Failure
from host_tools.safe_write import make_directory

NAME = "rabbitmq"
INSTALL = "apt-get install rabbitmq-server && systemctl disable --now rabbitmq-server, or --engine mosquitto"
LIMITS = (
    "one file for a connection, and one for each queue; no other bound on connections but memory",
    "at 40 % of the machine's memory publishers are held back until it falls again",
    "no retained message for a subscription with a wildcard, and retained messages stay on the node they came to",
    "a message that is not allowed ends the connection",
    "an identity may not hold a '.': RabbitMQ separates the levels of a topic by it",
    "at most 64 MB wait for one subscriber, then the oldest are dropped; a session is forgotten after a day away",
    "a client takes over the connection of another with its client id, as long as its own certificate is good",
)
MOST = None
START_S = 60.0
VHOST = "rootlet"
CLUSTER = True
_QUEUE_BYTES = 64 << 20
_SESSION_MS = 24 * 3600 * 1000
_PROGRAMS = (
    "/usr/lib/rabbitmq/bin/rabbitmq-server",  # Debian's own in sbin goes through `su rabbitmq`
    "/opt/homebrew/opt/rabbitmq/sbin/rabbitmq-server",
    "/usr/local/opt/rabbitmq/sbin/rabbitmq-server",
)


def ready(settings: Settings) -> bool:
    """Whether clients can connect, and a cluster is one."""
    return accepts(settings) and nodes.joined(settings)


def find() -> str | None:
    """The program that becomes the broker."""
    if not shutil.which("erl") or not shutil.which("epmd"):
        return None
    return next((path for path in _PROGRAMS if os.access(path, os.X_OK)), None)


def refuse(settings: Settings) -> None:
    """Raise Failure for what RabbitMQ cannot do."""
    if settings.psk:
        raise no_shared_keys(NAME)
    nodes.refuse(settings)
    if not settings.mtls and not settings.users:
        because = "without certificates and without users anybody could read and write"
        raise Failure("RabbitMQ is never open to all", because, "rootlet broker --engine rabbitmq --user", Exit.USAGE)
    for name in anybody_known(settings):
        if "." in name:
            because = f"{name[:60]!r} has a '.', which parts the levels of a topic: another device could write there"
            raise Failure("RabbitMQ cannot tell that device from others", because, "an id without '.'", Exit.USAGE)


def configure(settings: Settings) -> Start:
    """Write the configuration, the definitions and the cookie; of a start without sessions, nothing older is kept."""
    home = settings.directory.resolve()
    data = home / "data"
    if not settings.sessions and not settings.node:
        shutil.rmtree(data, ignore_errors=True)
    make_directory(data)
    lists = crl_folder.write(settings, revocation.lists(settings.revoked) if settings.mtls and settings.revoked else [])
    files = [
        private(settings, "rabbitmq.conf", _plain(settings)),
        *lists,
        private(settings, "advanced.config", _advanced(settings, home)),
        private(settings, "definitions.json", json.dumps(definitions(settings), indent=1)),
        private(settings, "enabled_plugins", "[rabbitmq_mqtt].\n"),
        private(settings, "no-env.conf", ""),
        nodes.cookie(settings),
    ]
    names = nodes.names(settings)
    files += names.files
    program = find() or _PROGRAMS[0]
    env = {
        "HOME": str(home),
        "RABBITMQ_CONFIG_FILE": str(home / "rabbitmq.conf"),
        "RABBITMQ_ADVANCED_CONFIG_FILE": str(home / "advanced.config"),
        "RABBITMQ_CONF_ENV_FILE": str(home / "no-env.conf"),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(home / "enabled_plugins"),
        "RABBITMQ_MNESIA_BASE": str(data),
        "RABBITMQ_LOG_BASE": str(home),
        "RABBITMQ_LOGS": "-",
        "RABBITMQ_PID_FILE": str(home / "pid"),
        "RABBITMQ_GENERATED_CONFIG_DIR": str(home),
        # The script becomes the Erlang machine, in place of a shell that waits for it: so signals reach it.
        "RUNNING_UNDER_SYSTEMD": "true",
        **names.env,
    }
    # On machines of their own, systemd ends the port mapper with the broker; here its keeper does.
    keeper = [sys.executable, "-m", "host_tools.engines.epmd", str(names.epmd_port)] if names.here else []
    return Start([*keeper, program], env, files)


def _plain(settings: Settings) -> str:
    bind = f"[{settings.bind}]" if ":" in settings.bind else settings.bind
    lines = [
        "listeners.tcp = none",
        "mqtt.listeners.tcp = none",
        f"mqtt.listeners.ssl.default = {bind}:{settings.port}",
        "mqtt.allow_anonymous = false",
        f"mqtt.ssl_cert_login = {'true' if settings.mtls else 'false'}",
        "ssl_cert_login_from = common_name",
        f"mqtt.vhost = {VHOST}",
        "mqtt.exchange = amq.topic",
        f"mqtt.subscription_ttl = {_SESSION_MS}",
        "mqtt.prefetch = 1000",
        # A durable subscription is kept by the majority of the nodes: a killed one loses nothing.
        f"mqtt.durable_queue_type = {'quorum' if settings.node else 'classic'}",
        "mqtt.tcp_listen_options.nodelay = true",
        "mqtt.tcp_listen_options.backlog = 1024",
        "mqtt.login_timeout = 20000",
        f"default_vhost = {VHOST}",
        # Nobody has this name or this word; RabbitMQ's own default is guest with the word guest.
        "default_user = nobody",
        f"default_pass = {secrets.token_hex(24)}",
        "default_permissions.configure = ^$",
        "default_permissions.read = ^$",
        "default_permissions.write = ^$",
        "default_user_tags.administrator = false",
        "max_message_size = 65536",
        "vm_memory_high_watermark.relative = 0.4",
        "disk_free_limit.absolute = 50MB",
        "log.file = false",
        "log.console = true",
        "log.console.level = warning",
        *nodes.formation(settings),
    ]
    return "\n".join(lines) + "\n"


def _advanced(settings: Settings, home: Path) -> str:
    # Paths go here: rabbitmq.conf has no way to write every character that a path may have.
    tls = [
        f"{{cacertfile, {nodes.erlang(str(settings.ca))}}}",
        f"{{certfile, {nodes.erlang(str(settings.cert))}}}",
        f"{{keyfile, {nodes.erlang(str(settings.key))}}}",
        "{versions, ['tlsv1.2', 'tlsv1.3']}",
        "{honor_cipher_order, true}",
        "{secure_renegotiate, true}",
        "{client_renegotiation, false}",
    ]
    if settings.mtls:
        tls += ["{verify, verify_peer}", "{fail_if_no_peer_cert, true}", "{depth, 3}"]
    if settings.mtls and settings.revoked:
        # A name alone does not tell a certificate that was taken back from the one that came after it.
        folder = nodes.erlang(str(home / "crls"))
        tls += ["{crl_check, peer}", f"{{crl_cache, {{ssl_crl_hash_dir, {{internal, [{{dir, {folder}}}]}}}}}}"]
    listed = ",\n   ".join(tls)
    return f"""[{{rabbit, [
  {{load_definitions, {nodes.erlang(str(home / "definitions.json"))}}},
  {{ssl_options, [
   {listed}
  ]}}
]}}].
"""


def definitions(settings: Settings) -> dict[str, object]:
    """Users, what they may do, and bounds, in the form of RabbitMQ's definitions file.

    Nobody is let in who is not in it. With sessions, an identity that an earlier start knew stays in the database:
    such get no connection any more.
    """
    known = rights(settings)
    gone = _gone(settings, known)
    here = {"vhost": VHOST}
    bounds = {"max-length-bytes": _QUEUE_BYTES, "overflow": "drop-head"}
    return {
        "vhosts": [{"name": VHOST}],
        "users": [_user(settings, name, who.connections) for name, who in known.items()]
        + [_user(settings, name, 0) for name in gone],
        "permissions": [
            {**here, "user": name, "configure": who.queues, "write": who.objects, "read": who.objects}
            for name, who in known.items()
        ],
        "topic_permissions": [
            {**here, "user": name, "exchange": "amq.topic", "write": who.write, "read": who.read}
            for name, who in known.items()
        ],
        "policies": [
            {
                **here,
                "name": "bounds",
                "pattern": "^mqtt-subscription-",
                "apply-to": "queues",
                "definition": bounds,
                "priority": 0,
            }
        ],
    }


def _user(settings: Settings, name: str, connections: int | None) -> dict[str, object]:
    word = settings.users.get(name) if not settings.mtls else None
    user: dict[str, object] = {"name": name, "password_hash": _hash(word) if word else "", "tags": ""}
    user["hashing_algorithm"] = "rabbit_password_hashing_sha256"
    user["limits"] = {} if connections is None else {"max-connections": connections}
    return user


def _hash(word: str) -> str:
    """A salted hash of a password (https://www.rabbitmq.com/docs/passwords)."""
    salt = secrets.token_bytes(4)
    return base64.b64encode(salt + hashlib.sha256(salt + word.encode()).digest()).decode()


def _gone(settings: Settings, known: dict[str, Rights]) -> list[str]:
    """Who was let in by an earlier start of the same folder and is not any more."""
    path = settings.directory / "definitions.json"
    try:
        before = {user["name"] for user in json.loads(path.read_text())["users"]}
    except (OSError, ValueError, KeyError, TypeError):
        return []
    return sorted(before - known.keys())
