"""The same verdicts for everything a project uses: servers, certificate files, board configurations; a row each."""

import re
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from host_tools import certinfo
from host_tools.failure import Exit, Failure
from host_tools.inspect import chain, dial, inspect
from rootlet import config, policy
from rootlet.dates import date
from rootlet.errors import RootletError, words

_CLIENT_AUTH = b"\x2b\x06\x01\x05\x05\x07\x03\x02"
_UNITS = {"d": 86400, "w": 7 * 86400, "h": 3600, "": 86400}


@dataclass(frozen=True)
class Row:
    """One thing that was looked at. `status`: "ok", "soon" (ends before the horizon), "FAIL" or "skip"."""

    status: str
    target: str
    what: str
    ends: str | None = None


def horizon(text: str) -> int:
    """Seconds of `60d`, `8w` or `36h`; a bare number is days. Raises Failure (usage)."""
    found = re.fullmatch(r"([0-9]{1,5})([dwh]?)", text)
    if not found:
        raise Failure(f"--within '{text[:20]}' cannot be used", "it is not a number of days, weeks or hours",
                      "--within 60d", Exit.USAGE)  # fmt: skip
    return int(found[1]) * _UNITS[found[2]]


def default_targets(folder: Path) -> list[str]:
    """What a project folder usually holds. Raises Failure (usage) where it holds none of it."""
    found = [folder / "config.json", folder / "ca-data" / "ca.crt.pem"]
    found = [path for path in found if path.is_file()] + sorted((folder / "ca-data" / "issued").glob("*.crt.pem"))
    if not found:
        raise Failure("there is nothing to audit", "no target was given; no config.json and no ca-data is here",
                      "rootlet certs audit config.json broker.example.org:8883", Exit.USAGE)  # fmt: skip
    return [str(path) for path in found]


def default_anchors(folder: Path) -> list[Path | None]:
    """What servers are judged by where nothing is said: the board's own cert module or the CA here, then certifi's."""
    for path in (folder / "build" / "trust_roots.py", folder / "ca-data" / "ca.crt.pem"):
        if path.is_file():
            return [path, None]
    return [None]


def audit(
    targets: Iterable[str], *, within_s: int, ca: Path | None = None, timeout: float = 10.0, now: int | None = None
) -> list[Row]:
    """Look at every target.

    Args:
        targets: HOST:PORT, certificate files (PEM or DER), config.json files.
        ca: trust anchors for the servers; None: those of this folder, then certifi's.
        within_s: what ends in fewer seconds is "soon". timeout: seconds a connection. now: Unix seconds.
    Raises: Failure (usage) for a target that is none of these.
    """
    moment = int(time.time()) if now is None else now
    rows: list[Row] = []
    seen: set[tuple[str, int]] = set()
    anchors: list[Path | None] = [ca] if ca else default_anchors(Path())
    for target in targets:
        path = Path(target)
        if path.is_file() and path.suffix == ".json":
            rows += _configuration(path, moment, within_s, anchors, timeout, seen)
        elif path.is_file():
            rows += _file(path, moment, within_s)
        elif path.is_dir():
            raise Failure(f"{certinfo.printable(target)} is a folder", "targets are files and HOST:PORT",
                          "name its files, or give no target at all", Exit.USAGE)  # fmt: skip
        elif "/" in target or path.suffix in (".json", ".pem", ".der", ".crt", ".cer"):
            raise Failure(f"cannot read {certinfo.printable(target)}", "there is no such file", f"ls -l {target}",
                          Exit.USAGE)  # fmt: skip
        else:
            rows += _server(*dial.target(target), moment, within_s, anchors, timeout, seen)
    return rows


def bad(rows: Iterable[Row]) -> bool:
    """Whether anything fails or ends before the horizon."""
    return any(row.status in ("soon", "FAIL") for row in rows)


def as_json(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The rows, ready for JSON."""
    return [asdict(row) for row in rows]


def text(rows: list[Row]) -> str:
    """A line each, aligned."""
    width = min(max((len(row.target) for row in rows), default=0), 60)
    return "\n".join(certinfo.printable(f"{row.status:<5} {row.target:<{width}}  {row.what}") for row in rows)


def _ending(target: str, at: int, what: str, now: int, within_s: int) -> Row:
    left = (at - now) // 86400
    status = "soon" if at < now + within_s else "ok"
    return Row(status, target, f"{what} ends {date(at)}, {left} days left", date(at))


def _server(
    host: str,
    port: int,
    now: int,
    within_s: int,
    anchors: list[Path | None],
    timeout: float,
    seen: set[tuple[str, int]],
) -> Iterator[Row]:
    if (host, port) in seen:
        return
    seen.add((host, port))
    target = f"{host}:{port}"
    try:
        for ca in anchors:
            result = inspect(host, port, ca=ca, timeout=timeout, now=now)
            if result["policy"].get("code") != "CERT_UNKNOWN_CA":
                break
    except Failure as failure:
        if failure.code is Exit.USAGE:
            raise
        yield Row("FAIL", target, f"{failure.what}; {failure.because}")
        return
    if result["exit"]:
        yield Row("FAIL", target, _reason(result))
        return
    # The soonest end is what counts; each further one within the horizon is told too.
    ends = result["breaks"]
    due = [row for row in ends if row["at"] < now + within_s] or ends[:1]
    for row in due:
        status = "soon" if row["at"] < now + within_s else "ok"
        left = (row["at"] - now) // 86400
        yield Row(status, target, f"{row['date']} ({left} days): {row['what']}", row["date"])


def _reason(result: dict[str, Any]) -> str:
    told = result["policy"]
    if not told["ok"]:
        return f"{told['code']}: {told['what']}; {told['fact']}"
    if not result["openssl"]["ok"]:
        return f"OpenSSL: {result['openssl']['why'][0]['what']}"
    problems = [f"{fit['id']}: {fit['problems'][0]}" for fit in result["boards"] if not fit["can"]]
    return (
        problems[0] if problems else f"{result['connection']['fault']['code']}: {result['connection']['fault']['fact']}"
    )


def _judge_file(item: chain.Link, now: int, device: bool) -> RootletError | None:
    if item.cert is None:
        return RootletError("CERT_MALFORMED", "our reader does not understand it")
    try:
        policy.check_any(item.cert, now)
        if item.cert.issuer != item.cert.subject:
            policy.check_signature(item.cert)
        if device and item.cert.eku is not None and _CLIENT_AUTH not in item.cert.eku:
            raise RootletError("CERT_USAGE", f"'{item.label}' is not for clients (no clientAuth)")
    except RootletError as error:
        return error
    return None


def _file(path: Path, now: int, within_s: int, device: bool = False) -> Iterator[Row]:
    try:
        certificates = certinfo.read_certificates(path)
    except Failure as failure:
        yield Row("FAIL", str(path), f"{failure.what}: {failure.because}")
        return
    for cert in certificates:
        item = chain.link(certinfo.der(cert))
        fault = _judge_file(item, now, device)
        if fault:
            yield Row("FAIL", str(path), f"{fault.code}: {words(fault.code)[0]}; {fault.fact}")
            continue
        same = item.cert.issuer == item.cert.subject
        kind = "device certificate" if device else "root" if same else "CA" if item.cert.is_ca else "certificate"
        yield _ending(str(path), item.cert.not_after, f"{kind} '{item.label}'", now, within_s)


def _configuration(
    path: Path, now: int, within_s: int, anchors: list[Path | None], timeout: float, seen: set[tuple[str, int]]
) -> Iterator[Row]:
    """The broker, the page and the device certificate of a board's configuration."""
    try:
        settings = config.load(str(path))
    except RootletError as error:
        yield Row("FAIL", str(path), f"{error.code}: {error.fact}; {error.fix}")
        return
    mqtt, https = settings["mqtt"], settings["https"]
    servers = [f"{mqtt['host']}:{mqtt['port']}"]
    if https:
        servers.append(https["url"].removeprefix("https://").partition("/")[0].partition("?")[0])
    for server in servers:
        try:
            host, port = dial.target(server)
        except Failure as failure:
            yield Row("FAIL", str(path), f"{failure.what}: {failure.because}")
            continue
        yield from _server(host, port, now, within_s, anchors, timeout, seen)
    if mqtt["cert"]:
        beside = path.parent / mqtt["cert"].lstrip("/")
        issued = path.parent / "ca-data" / "issued" / f"device-{settings['device']}.crt.pem"
        if beside.is_file():
            yield from _file(beside, now, within_s, device=True)
        elif not issued.is_file():  # else it is a target of its own
            yield Row("skip", str(path), f"mqtt.cert '{mqtt['cert']}' is not beside it; give its file as a target")
