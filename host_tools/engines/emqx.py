"""EMQX 5: its configuration for one machine or a cluster, as files. Rootlet's tests have never run it.

EMQX is in no package that the tests install, so what is written here is checked for its form and against
the documentation only: `rootlet broker --check` asks it for every promise. Sources, below
https://docs.emqx.com/en/emqx/latest/: configuration/configuration.html (HOCON), configuration/listener.html and
network/emqx-mqtt-tls.html (listeners.ssl), access-control/authn/x509.html (peer_cert_as_username),
access-control/authz/file.html (acl.conf), network/crl.html, configuration/cluster.html,
deploy/cluster/security.html (TLS between nodes), configuration/mqtt.html, configuration/dashboard.html.
"""

import json
import re
import secrets
import shutil

from host_tools.engines.settings import Node, Settings, Start, accepts, no_shared_keys, private, taken_back
from host_tools.failure import Exit, Failure

NAME = "emqx"
INSTALL = "see https://www.emqx.com/en/downloads, or --engine nats"
LIMITS = (
    "one file for a connection; max_connections is written as 1,000,000",
    "its list of revoked certificates is fetched from the address in the certificate, and Rootlet's have none: "
    "a name that is left out of the devices may do nothing",
    "a list of devices is a list of rules that is gone through for each topic: for hundreds, another source of EMQX",
    "nodes reach each other at 4370 (Erlang) and the cluster's port (RPC)",
    "written after the documentation of EMQX 5 and never run by Rootlet's tests",
)
MOST = None
START_S = 90.0
CLUSTER = True
MAX_CONNECTIONS = 1_000_000
_PROGRAM = "/usr/bin/emqx"

ready = accepts


def find() -> str | None:
    """The program of EMQX."""
    return shutil.which("emqx")


def refuse(settings: Settings) -> None:
    """Raise Failure for what this configuration cannot do."""
    if settings.psk:
        raise no_shared_keys("EMQX")
    if not settings.mtls:
        because = "who a client is comes from its certificate; passwords would lie in EMQX's database"
        raise Failure("EMQX is configured with certificates only", because, "without --no-mtls", Exit.USAGE)
    if any(":" in node.address for node in settings.nodes):
        raise Failure("EMQX cannot make that cluster", "Erlang has no node names with IPv6 addresses", "host names")


def configure(settings: Settings) -> Start:
    """Write emqx.conf, acl.conf and, for a cluster, the options of TLS between nodes."""
    acl = private(settings, "acl.conf", access(settings))
    files = [acl]
    if settings.node:
        files.append(private(settings, "ssl_dist.conf", _between(settings, settings.node)))
    # `base.hocon` and what the dashboard changes come after or before it; this file alone decides what it names.
    conf = private(settings, "emqx.conf", hocon(document(settings)))
    directory = settings.directory
    env = {"EMQX_ETC_DIR": str(directory), "EMQX_LOG__CONSOLE__LEVEL": "warning"}
    return Start([find() or _PROGRAM, "foreground"], env, [conf, *files])


def hocon(value: dict[str, object]) -> str:
    """A document as HOCON: each key with a value in JSON, which HOCON contains.

    `${` starts a substitution in HOCON, but never inside quotes.
    """
    return "".join(f"{key} = {json.dumps(part, indent=2)}\n" for key, part in value.items())


def document(settings: Settings) -> dict[str, object]:
    """emqx.conf as a document: keys of the top, each with its value."""
    bind = f"[{settings.bind}]" if ":" in settings.bind else settings.bind
    node = settings.node
    found: dict[str, object] = {
        "node": {
            "name": _name(node) if node else "rootlet@127.0.0.1",
            "cookie": settings.secret or secrets.token_hex(32),
            "data_dir": str(settings.directory / "data"),
            "role": "core",
        },
        # Every listener that the packaged configuration opens is named here, so that none stays open unasked.
        "listeners": {
            "tcp": {"default": {"enable": False, "bind": "127.0.0.1:1883"}},
            "ws": {"default": {"enable": False, "bind": "127.0.0.1:8083"}},
            "wss": {"default": {"enable": False, "bind": "127.0.0.1:8084"}},
            "ssl": {"default": _listener(settings, f"{bind}:{settings.port}")},
        },
        "mqtt": {
            # What a client calls itself in CONNECT is replaced by the common name of its certificate.
            "peer_cert_as_username": "cn",
            "max_packet_size": "64KB",
            "max_inflight": 1000,
            "max_mqueue_len": 100000,
            "session_expiry_interval": "24h",
        },
        "authorization": {
            "no_match": "deny",
            "deny_action": "ignore",
            "cache": {"enable": True},
            "sources": [{"type": "file", "enable": True, "path": str(settings.directory / "acl.conf")}],
        },
        "dashboard": {"listeners": {"http": {"bind": 0}, "https": {"bind": 0}}},
        "log": {"console": {"enable": True, "level": "warning"}, "file": {"default": {"enable": False}}},
    }
    if node:
        found["cluster"] = {
            "name": "rootlet",
            "discovery_strategy": "static",
            "static": {"seeds": [_name(other) for other in settings.nodes]},
            "proto_dist": "inet_tls",
        }
        found["rpc"] = {
            "driver": "ssl",
            "port_discovery": "manual",
            "ssl_server_port": node.cluster_port,
            "certfile": str(node.cert),
            "keyfile": str(node.key),
            "cacertfile": str(settings.ca),
            "verify": "verify_peer",
            "fail_if_no_peer_cert": True,
        }
    return found


def _listener(settings: Settings, bind: str) -> dict[str, object]:
    return {
        "enable": True,
        "bind": bind,
        "max_connections": MAX_CONNECTIONS,
        "ssl_options": {
            "cacertfile": str(settings.ca),
            "certfile": str(settings.cert),
            "keyfile": str(settings.key),
            "versions": ["tlsv1.3", "tlsv1.2"],
            "verify": "verify_peer",
            "fail_if_no_peer_cert": True,
            "client_renegotiation": False,
            "handshake_timeout": "15s",
        },
    }


def _name(node: Node) -> str:
    return f"emqx@{node.address}"


def _text(text: str) -> str:
    """A text as a binary of Erlang, of any characters."""
    return f"<<{json.dumps(text, ensure_ascii=False)}/utf8>>" if not text.isascii() else json.dumps(text)


def access(settings: Settings) -> str:
    """acl.conf: the first line that fits decides, and none after the last fits.

    Names go into users, where they are compared as they are; topics hold the placeholder of the user's own name.
    """
    for name in (*settings.observers, *settings.operators, *(settings.devices or ())):
        if re.search(r"[\x00-\x1f\x7f]", name):
            raise Failure("EMQX cannot take that name", f"{name[:40]!r} has a control character", "another", Exit.USAGE)
    read = ["rootlet/#"] + ([f"{settings.home_assistant}/#"] if settings.home_assistant else [])
    lines = [f'{{deny, {{user, {_text(name)}}}, all, ["#"]}}.' for name in sorted(taken_back(settings))]
    for name in settings.operators:
        lines.append(_rule(name, "publish", ["rootlet/+/cmd"]))
    for name in (*settings.observers, *settings.operators):
        lines.append(_rule(name, "subscribe", read))
    write = ["rootlet/${username}/#"]
    if settings.home_assistant:
        write.append(f"{settings.home_assistant}/sensor/${{username}}/+/config")
    for who in [None] if settings.devices is None else settings.devices:
        lines += [_rule(who, "publish", write), _rule(who, "subscribe", ["rootlet/${username}/cmd/#"])]
    return "\n".join([*lines, "{deny, all}."]) + "\n"


def _rule(name: str | None, action: str, topics: list[str]) -> str:
    who = "all" if name is None else f"{{user, {_text(name)}}}"
    return f"{{allow, {who}, {action}, [{', '.join(map(_text, topics))}]}}."


def _between(settings: Settings, node: Node) -> str:
    common = (
        f"{{cacertfile, {json.dumps(str(settings.ca))}}}, {{certfile, {json.dumps(str(node.cert))}}}, "
        f"{{keyfile, {json.dumps(str(node.key))}}}, {{verify, verify_peer}}"
    )
    return f"[{{server, [{common}, {{fail_if_no_peer_cert, true}}]}},\n {{client, [{common}]}}].\n"
