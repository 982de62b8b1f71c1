"""Asks tshark to decrypt a capture with a key log, and says what it found."""

import shutil
import subprocess
from pathlib import Path

from host_tools.failure import Exit, Failure

_TIMEOUT_S = 120
_MOST_LINES = 1000
_BETWEEN = "\x1f"  # between several values of one field
# For each protocol: what to show of it. The last column of MQTT is the payload, in hexadecimal.
_FIELDS = {
    "mqtt": ("mqtt.msgtype == 3", ["mqtt.topic", "mqtt.msg"]),
    "http": ("http", ["http.request.line", "http.response.line", "http.file_data"]),
}
PROTOCOLS = tuple(_FIELDS)
# MQTT 3.1.1, table 2.1.
_MQTT = (
    "type 0", "CONNECT", "CONNACK", "PUBLISH", "PUBACK", "PUBREC", "PUBREL", "PUBCOMP", "SUBSCRIBE", "SUBACK",
    "UNSUBSCRIBE", "UNSUBACK", "PINGREQ", "PINGRESP", "DISCONNECT", "AUTH",
)  # fmt: skip


def program() -> str:
    """The path of tshark. Raises Failure where it is not installed."""
    found = shutil.which("tshark") or shutil.which("tshark", path="/usr/bin:/usr/local/bin:/opt/homebrew/bin")
    if not found:
        raise Failure(
            "tshark is not installed",
            "no program tshark on PATH",
            "apt-get install tshark (macOS: brew install wireshark), or open the capture with Wireshark elsewhere",
        )
    return found


def read(capture: Path, key_log: Path | None, port: int, protocol: str, *arguments: str) -> str:
    """What tshark prints about a capture.

    Args: capture: packet file. key_log: or None, and then nothing is decrypted. port: the server's, as in the file.
        protocol: what the TLS carries, one of PROTOCOLS. arguments: further ones of tshark.
    Raises: Failure.
    """
    keys = ["-o", f"tls.keylog_file:{key_log}"] if key_log else []
    how = ["-d", f"tcp.port=={port},tls", "-d", f"tls.port=={port},{protocol}"]
    try:
        done = subprocess.run(
            [program(), "-n", "-r", str(capture), *keys, *how, *arguments],
            capture_output=True,
            text=True,
            errors="replace",
            stdin=subprocess.DEVNULL,
            timeout=_TIMEOUT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Failure("tshark does not end", f"nothing in {_TIMEOUT_S} s", "capture less, or use Wireshark") from None
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["it gave no reason"])[-1]
        raise Failure("tshark cannot read the capture", last, f"tshark -r {capture}")
    return done.stdout


def contents(capture: Path, key_log: Path | None, port: int, protocol: str = "mqtt") -> list[str]:
    """What the TLS carried, one line each: topic and payload for MQTT, lines and body for HTTP.

    Args and raises as read(). Returns at most 1,000 lines; none where tshark cannot decrypt.
    """
    if protocol not in _FIELDS:
        raise Failure("no such protocol", f"{protocol!r} is not {' or '.join(_FIELDS)}", "--protocol mqtt", Exit.USAGE)
    chosen, names = _FIELDS[protocol]
    fields = [part for name in names for part in ("-e", name)]
    output = read(
        capture, key_log, port, protocol, "-Y", chosen, "-T", "fields", "-E", f"aggregator={_BETWEEN}", *fields
    )
    lines = []
    for row in output.splitlines()[:_MOST_LINES]:
        columns = [column.split(_BETWEEN) for column in row.split("\t")]
        # A subscription in the same packet has topics too, an empty message has no payload: then nothing fits together.
        if protocol == "mqtt" and len(columns) == 2 and len(columns[0]) == len(columns[1]):
            lines += [f"{topic}  {_text(payload)}" for topic, payload in zip(*columns, strict=True)]
        else:
            lines.append("  ".join(_text(value) for column in columns for value in column if value))
    return [_printable(line) for line in lines[:_MOST_LINES]]


def mqtt_packets(capture: Path, key_log: Path | None, port: int) -> list[tuple[str, str]]:
    """Each MQTT packet that can be read: who sent it and its name, such as CONNECT. Args and raises as read()."""
    kinds = _sent(read(capture, key_log, port, "mqtt", "-Y", "mqtt", *_sent_fields("mqtt.msgtype")), port)
    return [(sender, _MQTT[int(kind)] if kind.isdigit() and int(kind) < 16 else kind) for sender, kind in kinds]


def alerts(capture: Path, key_log: Path | None, port: int, protocol: str = "mqtt") -> list[tuple[str, str]]:
    """Each alert that can be read: who sent it ("client" or "server") and its number. Args and raises as read()."""
    name = "tls.alert_message.desc"
    return _sent(read(capture, key_log, port, protocol, "-Y", name, *_sent_fields(name)), port)


def _sent_fields(name: str) -> list[str]:
    return ["-T", "fields", "-E", f"aggregator={_BETWEEN}", "-e", "tcp.srcport", "-e", name]


def _sent(output: str, port: int) -> list[tuple[str, str]]:
    """(sender, value) for each value of a field."""
    rows = [line.split("\t") for line in output.splitlines()[:_MOST_LINES]]
    return [
        ("server" if row[0] == str(port) else "client", value)
        for row in rows
        if len(row) == 2
        for value in row[1].split(_BETWEEN)
    ][:_MOST_LINES]


def _text(value: str) -> str:
    """The text of a field that tshark gives in hexadecimal, or the field as it is."""
    try:
        return bytes.fromhex(value).decode(errors="replace")
    except ValueError:
        return value


def _printable(text: str) -> str:
    # What is in a capture must not drive the terminal.
    return "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in text)
