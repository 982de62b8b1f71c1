"""Looks at a TLS server as a board would: what it serves, whether that verifies, what a board needs, what ends when."""

import time
from pathlib import Path
from typing import Any

from cryptography import x509 as cx509

from host_tools import boards, certinfo
from host_tools.failure import Exit
from host_tools.inspect import boards_fit, chain, future, probe, wire
from host_tools.inspect.mbedtls import GROUPS, PORTS, SCHEMES, SUITES
from rootlet import policy
from rootlet.errors import words

DEFAULT_BOARDS = ("pico_w", "esp32_generic")
TIMEOUT_S = 10.0


def inspect(
    host: str,
    port: int = 443,
    *,
    sni: str | None = None,
    ca: Path | None = None,
    board: str | None = None,
    timeout: float = TIMEOUT_S,
    now: int | None = None,
) -> dict[str, Any]:
    """Everything about one server, ready for JSON.

    Args:
        host: A-labels or an IP address. sni: the name to ask for in its place. ca: trust anchors, else certifi's.
        board: an id of boards/, else the two commonest. timeout: seconds for each of the two connections.
        now: Unix seconds, by default this machine's clock.
    Returns: `exit` (an Exit) among the rest. Raises: Failure where no TLS connection came about.
    """
    moment = int(time.time()) if now is None else now
    name = sni or host
    roots = chain.store(ca)
    chosen = [boards.load(one) for one in ([board] if board else DEFAULT_BOARDS)]
    sni_name = "" if _is_address(name) else name
    anchors = [root.full for root in roots if root.full is not None]
    seen = probe.full(host, port, sni_name, anchors, timeout)
    # The ports of this table offer the same; one that differs would be asked for on its own.
    as_board = probe.as_board(host, port, sni_name, PORTS[chosen[0]["port"]], timeout)
    served = as_board.flight.certificates or seen.flight.certificates
    built = chain.build(served, roots)
    fault = chain.judge(built, roots, name, moment)
    name_ok, name_why = chain.peer_name(built.path[0] if built.path else None, name)
    fits = [boards_fit.fit(one, as_board, built) for one in chosen]
    for fit in fits:
        fit["accepts"] = fit["can"] and fault is None
    result: dict[str, Any] = {
        "target": {"host": host, "port": port, "name": name, "address": seen.address},
        "store": str(ca) if ca else "certifi",
        "connection": _connection(seen),
        "board_connection": _board_connection(as_board, built, seen),
        "chain": _chain(built, moment),
        "extra": [chain.facts(item, "extra", moment) for item in built.extra],
        "disordered": built.disordered,
        "openssl": {"ok": not seen.errors, "why": [{"depth": d, "what": what} for d, what in seen.errors]},
        "policy": {"ok": fault is None},
        "name": {"asked": name, "ok": name_ok, "why": certinfo.printable(name_why)},
        "root": _root(built, roots, moment, ca is None),
        "missing": future.missing(built),
        "cross_signs": future.cross_signs(built, roots),
        "breaks": future.breaks(built, roots, ca is None),
        "boards": fits,
    }
    if fault:
        result["policy"] |= {"code": fault.code, "what": words(fault.code)[0],
                             "fact": certinfo.printable(fault.fact), "fix": certinfo.printable(fault.fix)}  # fmt: skip
    result["exit"] = int(_exit(result, seen))
    return result


def _is_address(name: str) -> bool:
    return policy.ip_bytes(name) is not None or ":" in name


def _exit(result: dict[str, Any], seen: probe.Seen) -> Exit:
    if not (result["openssl"]["ok"] and result["policy"]["ok"]):
        return Exit.UNVERIFIED
    broken = seen.fault is not None and not seen.flight.asks_client_certificate
    return Exit.FAILED if broken or not all(fit["can"] for fit in result["boards"]) else Exit.OK


def _connection(seen: probe.Seen) -> dict[str, Any]:
    flight = seen.flight
    suite = SUITES.get(flight.suite or 0, f"{flight.suite or 0:#06x}")
    return {
        "complete": seen.complete,
        "fault": {"code": seen.fault[0], "fact": seen.fault[1]} if seen.fault else None,
        "protocol": seen.protocol or wire.VERSIONS.get(flight.version or 0, "unknown"),
        "cipher": seen.cipher or suite,
        "key_exchange": _key_exchange(flight, seen.cipher or suite),
        "group": GROUPS.get(flight.group, hex(flight.group)) if flight.group else None,
        "signature": SCHEMES.get(flight.scheme, hex(flight.scheme)) if flight.scheme else None,
        "alpn_offered": seen.alpn_offered,
        "alpn": certinfo.printable(seen.alpn) or None,
        # A server that wants a client certificate may keep its tickets until it has one.
        "tickets": flight.tickets or (None if flight.unread or flight.asks_client_certificate else 0),
        "asks_client_certificate": flight.asks_client_certificate,
        "requires_client_certificate": flight.asks_client_certificate and flight.alert is not None,
        "bytes_sent": seen.sent,
        "bytes_received": seen.received,
        "milliseconds": round(seen.seconds * 1000, 1),
    }


def _key_exchange(flight: wire.Flight, cipher: str) -> str:
    if flight.version == 0x0304 or cipher.startswith("ECDHE"):
        return "ECDHE" if flight.group is None or flight.group < 0x100 else "hybrid" if flight.group > 0x11E0 else "DHE"
    return "DHE" if cipher.startswith("DHE") else "RSA (no forward secrecy)"


def _board_connection(seen: probe.Seen, built: chain.Built, full: probe.Seen) -> dict[str, Any]:
    flight = seen.flight
    sent, received = boards_fit.rest_of_handshake(seen, built) if seen.complete else (0, 0)
    mine, other = flight.certificates, full.flight.certificates
    return {
        "served": seen.complete,
        "fault": {"code": seen.fault[0], "fact": seen.fault[1]} if seen.fault else None,
        "protocol": wire.VERSIONS.get(flight.version or 0) if flight.version else None,
        "cipher": SUITES.get(flight.suite) if flight.suite else None,
        "group": GROUPS.get(flight.group) if flight.group else None,
        "signature": SCHEMES.get(flight.scheme) if flight.scheme else None,
        "hello_sent": seen.sent,
        "hello_received": seen.received,
        "bytes_sent": seen.sent + sent if seen.complete else None,
        "bytes_received": seen.received + received if seen.complete else None,
        "certificate_message": flight.certificate_message,
        "largest_record": flight.largest_record,
        "largest_message": flight.largest_message,
        "another_certificate": bool(mine and other and mine[0] != other[0]),
    }


def _chain(built: chain.Built, now: int) -> list[dict[str, Any]]:
    rows = []
    for i, item in enumerate(built.path):
        alone = item.cert is not None and item.cert.issuer == item.cert.subject
        role = "root" if item is built.root else "leaf" if i == 0 else "unknown root" if alone else "intermediate"
        rows.append(chain.facts(item, role, now))
    return rows


def _root(built: chain.Built, roots: list[chain.Link], now: int, public: bool) -> dict[str, Any] | None:
    """The root that a board must hold, what it takes there, and what comes after it."""
    if built.root is None or built.root.full is None:
        return None
    module_bytes, why = boards_fit.flash(built.root)
    return {
        "label": certinfo.printable(built.root.label),
        **chain.facts(built.root, "root", now),
        "module_bytes": module_bytes,
        "refused": certinfo.printable(why),
        "successors": [
            {"label": certinfo.printable(other.label), "not_after": certinfo.describe(other.full)["not_after"],
             "sha256": certinfo.sha256(other.full), "der_bytes": len(other.der)}
            for other in future.successors(built.root, roots, now, public) if other.full is not None
        ],
    }  # fmt: skip


def root_certificate(result: dict[str, Any], ca: Path | None) -> cx509.Certificate | None:
    """The root of an `inspect` result, as a certificate; None where there is none."""
    wanted = result["root"] and result["root"]["sha256"]
    return next((r.full for r in chain.store(ca) if r.full is not None and certinfo.sha256(r.full) == wanted), None)
