"""Sends line protocol to a time series database over verified HTTPS, in batches, with retries.

InfluxDB 1, 2 and 3, VictoriaMetrics and QuestDB take the same request. To InfluxDB a batch may go twice: a point of the
same series and time is kept once.
"""

import contextlib
import http.client
import ipaddress
import random
import re
import ssl
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import SplitResult, parse_qsl, urlsplit

from host_tools.failure import Exit, Failure
from host_tools.masking import harmless

_TIMEOUT_S = 30.0
_MOST_TRIES = 8
_LONGEST_PAUSE_S = 60.0
_BATCH_BYTES = 512 << 10
_ANSWER = 4096
_LATER = {429, 500, 502, 503, 504}
_SECRETS = re.compile(r"token|pass|^p$|^u$|secret|auth", re.IGNORECASE)
_FIXES = {
    400: "look at a line: rootlet export --format line | head; a field that exists with another type is refused",
    401: "give the token that may write there with --token-file",
    403: "the token must be allowed to write to that bucket or database",
    404: "check path, org and bucket (or db) of the URL",
}


@dataclass(frozen=True)
class Target:
    """Where to send to. token: never shown. path: with its query."""

    secure: bool
    host: str
    port: int
    path: str
    token: str | None = field(repr=False)
    context: ssl.SSLContext | None = field(repr=False)


def _no(what: str, because: str, fix: str = "https://HOST:8086/api/v2/write?org=ORG&bucket=BUCKET") -> Failure:
    return Failure(what, because, fix, Exit.USAGE)


def _loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def target(url: str, token_file: Path | None, ca: Path | None) -> Target:
    """What a URL, the file with the token and that of a private CA say. Raises: Failure where it must not be used."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise _no("that is no URL", "it cannot be taken apart") from None
    host, secure = parts.hostname or "", parts.scheme == "https"
    if parts.scheme not in ("https", "http") or not host or re.search(r"[^!-~]", url):
        raise _no("that is no URL to send to", "it must be https://HOST… without spaces, other characters as %XX")
    if parts.username is not None or any(_SECRETS.search(name) for name, _ in parse_qsl(parts.query)):
        raise _no("there is a secret in the URL", "a URL is shown in process lists and logs", "use --token-file FILE")
    if not secure and not _loopback(host):
        raise _no("the connection would not be encrypted", f"http:// to {host}", f"https://{host}… and --ca FILE")
    _refuse_precision(parts)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return Target(secure, host, port or (443 if secure else 80), path, _token(token_file), _context(ca, secure))


def _refuse_precision(parts: SplitResult) -> None:
    said = dict(parse_qsl(parts.query)).get("precision", "ns")
    if said not in ("ns", "n", "nanosecond", "auto"):
        raise _no(
            "the times would be misread", f"precision={said[:20]}, but they are sent in ns", "leave precision out"
        )


def _token(path: Path | None) -> str | None:
    if path is None:
        return None
    try:
        if path.stat().st_mode & 0o077:
            because = "others may read it"
            raise Failure(f"{path} is not secret", because, f"chmod 600 {path}; and make a new token", Exit.USAGE)
        with path.open() as file:
            token = file.readline(4096).strip()
    except (OSError, UnicodeDecodeError) as e:
        because = e.strerror or "" if isinstance(e, OSError) else "it is no text"
        raise Failure(f"cannot read the token of {path}", because, f"ls -l {path}", Exit.USAGE) from None
    if not re.fullmatch(r"[!-~]+", token):
        because = "its first line is empty, or holds spaces or characters beyond ASCII"
        raise Failure(f"no token in {path}", because, "the token alone in the first line", Exit.USAGE)
    return token


def _context(ca: Path | None, secure: bool) -> ssl.SSLContext | None:
    if not secure:
        return None
    try:
        context = ssl.create_default_context(cafile=str(ca) if ca else None)
    except OSError as e:
        raise Failure(f"cannot use the CA {ca}", e.strerror or str(e), "--ca takes a PEM file", Exit.USAGE) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def batches(lines: Iterable[str], most: int = _BATCH_BYTES) -> Iterator[tuple[bytes, int]]:
    """Lines in bodies of some `most` bytes, each with the number of its lines."""
    waiting: list[bytes] = []
    size = 0
    for line in lines:
        data = line.encode()
        if waiting and size + len(data) > most:
            yield b"".join(waiting), len(waiting)
            waiting, size = [], 0
        waiting.append(data)
        size += len(data)
    if waiting:
        yield b"".join(waiting), len(waiting)


def send(
    place: Target, lines: Iterable[str], say: Callable[[str], None], pause: Callable[[float], None] = time.sleep
) -> int:
    """Send all lines, one batch after the other, each tried at most 8 times. Returns how many the server has taken.

    Args: say: takes a line before each further try.
        pause: waits so many seconds; as told by Retry-After, else with full jitter, at most 60.
    Raises: Failure where the server cannot be verified, refuses the data, or does not get well.
    """
    if place.secure:
        connection: http.client.HTTPConnection = http.client.HTTPSConnection(
            place.host, place.port, timeout=_TIMEOUT_S, context=place.context
        )
    else:
        connection = http.client.HTTPConnection(place.host, place.port, timeout=_TIMEOUT_S)
    sent = 0
    with contextlib.closing(connection):
        for body, count in batches(lines):
            _deliver(connection, place, body, sent, say, pause)
            sent += count
    return sent


def _deliver(
    connection: http.client.HTTPConnection,
    place: Target,
    body: bytes,
    sent: int,
    say: Callable[[str], None],
    pause: Callable[[float], None],
) -> None:
    where, because, wait = f"{place.host}:{place.port}", "", 0.0
    for tries in range(_MOST_TRIES):
        if tries:
            say(f"{where}: {because}; try {tries + 1} of {_MOST_TRIES} in {wait:.1f} s")
            pause(wait)
        wait = random.uniform(0, min(_LONGEST_PAUSE_S, 2.0**tries))  # noqa: S311
        try:
            status, said, after = _post(connection, place, body)
        except ssl.SSLCertVerificationError as e:
            fix = "a name in its certificate, and --ca FILE with the CA that issued it"
            raise Failure(f"{where} is not who it should be", e.verify_message, fix, Exit.UNVERIFIED) from None
        except (OSError, http.client.HTTPException) as e:
            connection.close()
            because = f"{type(e).__name__}: {e}"[:200]
            continue
        if 200 <= status < 300:
            return
        because = f"HTTP {status} {said}".strip()
        if status not in _LATER:
            fix = _FIXES.get(status, "check the URL against the manual of the server")
            raise Failure(f"{where} does not take the readings", f"{because} (taken before: {sent})", fix)
        wait = after if after is not None else wait
    fix = "the same command later: what is sent twice is kept once"
    raise Failure(f"{where} did not take the readings, {_MOST_TRIES} times", f"{because} (taken before: {sent})", fix)


def _post(connection: http.client.HTTPConnection, place: Target, body: bytes) -> tuple[int, str, float | None]:
    """One request: status, what the server said, and after how many seconds it wants to be asked again."""
    headers = {"Content-Type": "text/plain; charset=utf-8", "User-Agent": "rootlet"}
    if place.token:
        kind = "Bearer" if place.path.startswith("/api/v3/") else "Token"
        headers["Authorization"] = f"{kind} {place.token}"
    connection.request("POST", place.path, body, headers)
    with connection.getresponse() as answer:
        said = answer.read(_ANSWER + 1)
        if len(said) > _ANSWER:
            connection.close()  # the rest is not wanted
        text = harmless(said[:_ANSWER].decode("utf-8", "replace")).strip()
        if place.token:
            text = text.replace(place.token, "[hidden]")
        after = answer.headers.get("Retry-After", "")
        wait = min(float(after), _LONGEST_PAUSE_S) if re.fullmatch(r"\d{1,6}", after) else None
        return answer.status, text[:200], wait
