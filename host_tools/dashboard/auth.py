"""Who may see the page: sessions, limits of the login, and what a request must say about where it comes from."""

import hashlib
import hmac
import ipaddress
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping

COOKIE = "__Host-session"
SESSION_S = 12 * 3600
MOST_SESSIONS = 64
_TRIES = 5
_TRIES_S = 60
_MOST_ADDRESSES = 1024
_LONGEST_COOKIE = 4096


def new_token() -> str:
    """A token for the login: 256 random bits in base64url."""
    return secrets.token_urlsafe(32)


def same(token: str, given: str) -> bool:
    """Compare in constant time, whatever the lengths are."""
    return hmac.compare_digest(_digest(token), _digest(given))


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()


class Sessions:
    """Sessions in memory: at most MOST_SESSIONS, the oldest goes first; each ends after SESSION_S seconds.

    Only digests of the ids are kept, so that a look-up tells nothing by its time.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ends: OrderedDict[bytes, float] = OrderedDict()

    def open(self) -> str:
        """A new session's id."""
        while len(self._ends) >= MOST_SESSIONS:
            self._ends.popitem(last=False)
        name = secrets.token_urlsafe(32)
        self._ends[_digest(name)] = self._clock() + SESSION_S
        return name

    def valid(self, name: str) -> bool:
        """Whether that session was opened, and has neither ended nor been closed."""
        key = _digest(name)
        end = self._ends.get(key)
        if end is not None and self._clock() >= end:
            del self._ends[key]
            end = None
        return end is not None

    def close(self, name: str) -> None:
        """End a session."""
        self._ends.pop(_digest(name), None)


class Attempts:
    """Failed logins: after _TRIES within _TRIES_S seconds an address waits. An IPv6 address counts as its /64 network.

    Knows at most _MOST_ADDRESSES addresses.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._failed: OrderedDict[str, deque[float]] = OrderedDict()

    def wait_s(self, address: str) -> float:
        """How long this address has to wait until it may try; 0: not at all."""
        times = self._failed.get(_network(address))
        if times is None or len(times) < _TRIES:
            return 0
        return max(0.0, times[0] + _TRIES_S - self._clock())

    def failed(self, address: str) -> None:
        """Count one failure."""
        name = _network(address)
        times = self._failed.pop(name, None) or deque(maxlen=_TRIES)
        times.append(self._clock())
        while len(self._failed) >= _MOST_ADDRESSES:
            self._failed.popitem(last=False)
        self._failed[name] = times


def _network(address: str) -> str:
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address[:64]
    if found.version == 4:
        return str(found)
    return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))


def cookie(header: str) -> str:
    """The session's id in a Cookie header (RFC 6265 section 4.2); "" where there is none."""
    for part in header[:_LONGEST_COOKIE].split(";"):
        name, _, value = part.strip().partition("=")
        if name == COOKIE:
            return value[:128]
    return ""


def set_cookie(value: str, seconds: int = SESSION_S) -> str:
    """The Set-Cookie header; seconds 0 takes the cookie away."""
    return f"{COOKIE}={value}; Path=/; Max-Age={seconds}; Secure; HttpOnly; SameSite=Strict"


def host_name(header: str) -> str:
    """The name in a Host header (RFC 9110 section 7.2), without port and brackets, in lower case."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.partition(":")[0].removesuffix(".")


def is_known(host: str, names: Iterable[str]) -> bool:
    """Whether a host is one of these names; `*.` of a name stands for one label."""
    one_up = "*." + host.partition(".")[2]
    return bool(host) and any(name in (host, one_up) for name in names)


OWN, FOREIGN, ABSENT = "own", "foreign", "absent"


def origin(headers: Mapping[str, str]) -> str:
    """Whether a request comes from the page itself: OWN, FOREIGN or ABSENT (it does not say).

    The page sends no referrer, so that a browser gives "null" as the origin of its forms; then, and where no origin is
    sent, Sec-Fetch-Site (Fetch Metadata, which no script can set) decides.
    """
    said = headers.get("origin", "").lower()
    if said and said != "null":
        return OWN if said == f"https://{headers.get('host', '').lower()}" else FOREIGN
    site = headers.get("sec-fetch-site", "")
    if site == "same-origin":
        return OWN
    if site in ("cross-site", "same-site") and headers.get("sec-fetch-mode") != "navigate":
        return FOREIGN
    return FOREIGN if said else ABSENT
