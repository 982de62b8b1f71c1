"""Makes the stream of QoS 1 messages before the first client makes it: `nats_prepare.py nats.conf NAME`.

Left to itself NATS lets go of a message when all who asked for it have acknowledged it. So kept, 2.9.10 lost messages
of sessions that were away, or on the node, when a node of a cluster was killed. Kept by age and size instead, nothing
was lost. Only the standard library, since it runs on each machine of a cluster beside its nats.conf.
"""

import json
import socket
import ssl
import sys
import time
from pathlib import Path
from typing import Any

STREAM = "$MQTT_msgs"
USER = "setup"
KEEP_S = 7 * 86400
_TIMEOUT_S = 2
_LONGEST = 1 << 20
_NOT_FOUND = 404


class NotYet(Exception):
    """The server, or enough of its cluster, is not there yet."""


def _ask(
    document: dict[str, Any], name: str, requests: list[tuple[str, dict[str, Any] | None]]
) -> list[dict[str, Any]]:
    """Answers of JetStream to (subject, body). Raises NotYet."""
    context = ssl.create_default_context(cafile=document["tls"]["ca_file"])
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    secret = next(user["password"] for user in document["authorization"]["users"] if user["user"] == USER)
    hello = {"verbose": False, "tls_required": True, "user": USER, "pass": secret, "lang": "python", "version": "1"}
    try:
        with socket.create_connection(("127.0.0.1", document["port"]), timeout=_TIMEOUT_S) as plain:
            _line(plain)  # INFO, before TLS
            with context.wrap_socket(plain, server_hostname=name) as stream, stream.makefile("rb") as lines:
                stream.sendall(b"CONNECT " + json.dumps(hello).encode() + b"\r\nSUB _INBOX.setup 1\r\n")
                return [_one(stream, lines, subject, body) for subject, body in requests]
    except (OSError, ValueError) as error:
        raise NotYet(str(error)) from None


def _line(plain: socket.socket) -> None:
    # Byte by byte: what follows the line belongs to TLS.
    for _ in range(65536):
        if plain.recv(1) in (b"\n", b""):
            return


def _one(stream: ssl.SSLSocket, lines: Any, subject: str, body: dict[str, Any] | None) -> dict[str, Any]:
    data = json.dumps(body).encode() if body is not None else b""
    stream.sendall(f"PUB {subject} _INBOX.setup {len(data)}\r\n".encode() + data + b"\r\n")
    while True:
        words = lines.readline(65536).split()
        if not words or words[0] == b"-ERR":
            raise NotYet(b" ".join(words).decode(errors="replace") or "closed")
        if words[0] == b"PING":
            stream.sendall(b"PONG\r\n")
        if words[0] == b"MSG" and (size := int(words[-1])) <= _LONGEST:
            found: dict[str, Any] = json.loads(lines.read(size))
            lines.readline(8)
            return found


def prepare(conf: Path, name: str) -> str:
    """Make the stream where there is none. Returns its way of keeping, "limits" or, where NATS made it, "interest".

    Args: conf: our nats.conf. name: one that the server's certificate has. Raises: NotYet.
    """
    document = json.loads(conf.read_text())
    (info,) = _ask(document, name, [(f"$JS.API.STREAM.INFO.{STREAM}", None)])
    if info.get("error", {}).get("code") == _NOT_FOUND:
        wanted = {
            "name": STREAM,
            "subjects": ["$MQTT.msgs.>"],
            "retention": "limits",
            "discard": "old",
            "storage": "file",
            "max_age": KEEP_S * 10**9,
            "max_bytes": document["jetstream"]["max_file_store"] // 2,
            "num_replicas": document["mqtt"].get("stream_replicas", 1),
        }
        (info,) = _ask(document, name, [(f"$JS.API.STREAM.CREATE.{STREAM}", wanted)])
    if "error" in info:
        raise NotYet(str(info["error"].get("description", "refused")))
    return str(info["config"]["retention"])


def main(conf: Path, name: str, timeout_s: float = 60) -> None:
    """Wait for the server and prepare it."""
    end = time.monotonic() + timeout_s
    while True:
        try:
            kept = prepare(conf, name)
            break
        except NotYet as error:
            if time.monotonic() > end:
                sys.exit(f"error: JetStream is not there\nbecause: {error}\ntry: start the other machines, too")
            time.sleep(0.5)
    if kept != "limits":
        print(
            f"warning: {STREAM} was made by a client that came first: sessions may lose messages when a node dies.\n"
            "try: stop all nodes, remove their jetstream folders, start them before the devices"
        )


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])
