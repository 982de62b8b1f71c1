"""Whether a board can do it: what a server answered to its Client Hello, against Mbed TLS as it is built there."""

import tempfile
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.serialization import Encoding

from host_tools import certs
from host_tools.boards import Board
from host_tools.failure import Failure
from host_tools.inspect.chain import Built, Link
from host_tools.inspect.mbedtls import GROUPS, PORTS, SCHEMES, SUITES, Abilities
from host_tools.inspect.probe import Seen

_POINT = {0x17: 65, 0x18: 97, 0x19: 133}
_FINISHED = {"GCM-SHA256": 45, "GCM-SHA384": 45, "CBC-SHA": 69, "CBC-SHA256": 85, "CBC-SHA384": 101}
_CHANGE = 6


def rest_of_handshake(seen: Seen, built: Built) -> tuple[int, int]:
    """Bytes (sent, received) that follow Server Hello Done, from the suite, the group and the record formats.

    A client certificate that is asked for counts as the empty message; a board's own comes on top.
    Source: RFC 5246 sections 6.2.3 and 7.4, RFC 5288.
    """
    name = SUITES.get(seen.flight.suite or 0, "")
    finished = _FINISHED.get("-".join(name.rsplit("-", 2)[-2:]), 45)
    leaf = built.path[0].cert if built.path else None
    modulus = leaf.key[1] // 8 if leaf and leaf.key[0] == "RSA" else 256
    exchange = 5 + 4 + (1 + _POINT.get(seen.flight.group or 0, 65) if name.startswith("ECDHE") else 2 + modulus)
    own = 12 if seen.flight.asks_client_certificate else 0
    return own + exchange + _CHANGE + finished, _CHANGE + finished


def flash(root: Link) -> tuple[int | None, str]:
    """What a root takes: bytes of its compiled cert module (None where it cannot be one), and why not."""
    if root.full is None:
        return None, "it cannot be read"
    with tempfile.TemporaryDirectory() as folder:
        pem = Path(folder) / "root.pem"
        pem.write_bytes(root.full.public_bytes(Encoding.PEM))
        try:
            made = certs.embed([pem], Path(folder) / "trust_roots.py")
            return made.compiled.stat().st_size, ""
        except Failure as failure:
            return None, failure.because


def _choices(seen: Seen, can_do: Abilities) -> tuple[list[str], list[str]]:
    """Problems and notes about the suite, the group and the signature that the server chose."""
    problems: list[str] = []
    notes: list[str] = []
    flight = seen.flight
    if seen.fault:
        problems.append(f"{seen.fault[0]}: {seen.fault[1]}")
    elif flight.version != 0x0303:
        problems.append("TLS_VERSION: the server did not choose TLS 1.2")
    else:
        suite = SUITES.get(flight.suite or 0, f"{flight.suite:04x}")
        if flight.suite not in can_do["suites"]:
            problems.append(f"TLS_VERSION: the server chose {suite}, which the board did not offer")
        if flight.group is not None and flight.group not in can_do["groups"]:
            problems.append(f"TLS_VERSION: the server chose {GROUPS.get(flight.group, hex(flight.group))}")
        if flight.scheme is not None and flight.scheme not in can_do["schemes"]:
            problems.append(f"TLS_VERSION: the server signs with {SCHEMES.get(flight.scheme, hex(flight.scheme))}")
    return problems, notes


def fit(board: Board, seen: Seen, built: Built) -> dict[str, Any]:
    """Whether that board's Mbed TLS completes a handshake with what the server serves it.

    Args: seen: the answer to the board's Client Hello. built: the path of the certificates in it.
    Returns: `can`, `problems` (why not) and `notes` (what to know all the same).
    """
    can_do = PORTS[board["port"]]
    flight = seen.flight
    problems, notes = _choices(seen, can_do)
    if flight.largest_record > can_do["in_bytes"]:
        problems.append(f"a record of {flight.largest_record} B is larger than the buffer of {can_do['in_bytes']} B")
    if flight.largest_message > can_do["in_bytes"]:
        problems.append(f"a message of {flight.largest_message} B is larger than the buffer of {can_do['in_bytes']} B")
    elif flight.fragmented:
        notes.append("a handshake message is split over records, which Mbed TLS before 3.6.3 cannot read")
    if len(built.path) - 2 > can_do["max_intermediates"]:
        problems.append(f"the chain has over {can_do['max_intermediates']} intermediates")
    if flight.asks_client_certificate:
        notes.append(
            "the server asks for a client certificate: `rootlet ca issue device ID`, then mqtt.cert and mqtt.key"
        )
    return {"id": board["id"], "name": board["name"], "port": board["port"], "can": not problems,
            "problems": problems, "notes": notes, "heap_bytes": board["tls"]["free_bytes"]}  # fmt: skip
