"""`rootlet dashboard`: who may see the page, from where, and what every answer says. Real TLS, verified."""

import re
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import httpx
import pytest
from websockets.exceptions import InvalidStatus

from host_tools.dashboard import auth, login, protocol
from host_tools.dashboard.serve import Dashboard
from host_tools.failure import Exit, Failure
from tests.integration.conftest import Pki
from tests.integration.viewing import SESSION, Browser, free_port, settings, trusting

METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS", "TRACE", "BREW")


@pytest.fixture(scope="module")
def page(pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Dashboard]:
    history = tmp_path_factory.mktemp("history") / "h.sqlite"
    made = settings(pki, free_port(), redirect_port=0, history=history)
    with Dashboard(made) as running:
        yield running


@pytest.fixture
def browser(pki: Pki, page: Dashboard) -> Iterator[Browser]:
    with Browser(pki, page) as one:
        yield one
    page.site.page._attempts = auth.Attempts()


def paths(page: Dashboard) -> list[str]:
    """Every route of the application, and what is none."""
    known = [re.sub(r"\{.*?\}", "dev-1", route.path) for route in page.site.page.routes()]
    assert {"/", "/login", "/logout", "/ws", "/api/devices", "/static/dev-1"} <= set(known)
    return [*known, "/static/app.js", "/static/../serve.py", "/nothing", "/login/", "/%2e%2e/%00", "/api"]


def checked(answer: httpx.Response) -> httpx.Response:
    """Headers that every answer has."""
    h = answer.headers
    assert h["content-security-policy"] == login.policy(), answer
    assert (h["x-content-type-options"], h["referrer-policy"]) == ("nosniff", "no-referrer")
    assert (h["cross-origin-opener-policy"], h["cache-control"]) == ("same-origin", "no-store")
    assert "server" not in h and "strict-transport-security" not in h
    return answer


def test_without_a_session_there_is_nothing(page: Dashboard, browser: Browser) -> None:
    for path in paths(page):
        for method in METHODS:
            page.site.page._attempts = auth.Attempts()
            answer = checked(browser.http.request(method, path))
            assert answer.status_code == 401, (method, path)
            assert path in ("/", "/login") or answer.text in ("", "log in first\n"), (method, path)
    browser.session = "x" * 43
    with pytest.raises(InvalidStatus) as refused:
        browser.socket()
    assert refused.value.response.status_code == 401
    form = browser.http.get("/")
    assert 'action="/login"' in form.text and "src=" not in form.text
    for element in ("script", "style"):
        assert len(re.findall(rf"<{element}", form.text)) == len(login._hashes(element)) == 1
    assert "'unsafe" not in login.policy() and login.policy().startswith(
        "default-src 'none'; script-src 'self' 'sha256-"
    )


def test_the_login(page: Dashboard, browser: Browser) -> None:
    answer = checked(browser.login())
    assert (answer.status_code, answer.headers["location"]) == (303, "/")
    name, *flags = answer.headers["set-cookie"].split("; ")
    assert re.fullmatch(rf"{SESSION}=[\w-]{{43}}", name) and page.token not in name
    assert set(flags) == {"Path=/", "Secure", "HttpOnly", "SameSite=Strict", f"Max-Age={auth.SESSION_S}"}
    for path, kind in (("/", "text/html"), ("/static/app.js", "text/javascript"), ("/api/devices", "application/json")):
        answer = checked(browser.http.get(path))
        assert answer.status_code == 200 and answer.headers["content-type"].startswith(kind)
    assert checked(browser.http.head("/api/devices")).status_code == 200
    assert checked(browser.http.post("/api/devices", headers={"Origin": browser.origin})).status_code == 405
    for path in ("/nothing", "/static/nothing", "/static/..%2fserve.py", "/api/device/nobody", "/ws"):
        assert checked(browser.http.get(path)).status_code == 404
    # A form in a page without a referrer has the origin "null"; the browser itself says that it is ours.
    own = {"Origin": "null", "Sec-Fetch-Site": "same-origin"}
    for headers in ({}, {"Origin": "null"}, {"Origin": "https://evil.example"}):
        assert checked(browser.http.post("/logout", headers=headers)).status_code == 403
    answer = checked(browser.http.post("/logout", headers=own))
    assert answer.status_code == 303 and "Max-Age=0" in answer.headers["set-cookie"]
    assert browser.http.get("/api/devices", headers={"Cookie": f"{SESSION}={browser.session}"}).status_code == 401


def test_wrong_tokens(page: Dashboard, browser: Browser) -> None:
    for token in ("", page.token[:-1], page.token + "=", "\udcff\n", "é"):
        answer = checked(browser.http.post("/login", content=b"token=" + token.encode("utf-8", "surrogatepass")))
        assert answer.status_code == 401 and "set-cookie" not in answer.headers and "<form" in answer.text
    answer = checked(browser.login())
    assert answer.status_code == 429 and 0 < int(answer.headers["retry-after"]) <= 60
    page.site.page._attempts = auth.Attempts()
    assert browser.login(Origin="https://evil.example").status_code == 403
    assert browser.login(Origin="null").status_code == 403
    assert browser.login(Origin=browser.origin.replace("https", "http")).status_code == 403
    assert browser.login().status_code == 303


def test_attempts_and_sessions_are_bounded_and_end() -> None:
    now = [0.0]
    attempts = auth.Attempts(lambda: now[0])
    for _ in range(5):
        attempts.failed("2001:db8::1")
    assert attempts.wait_s("2001:db8::2") == 60 and attempts.wait_s("2001:db8:0:1::2") == 0
    now[0] = 61
    assert attempts.wait_s("2001:db8::1") == 0
    for n in range(5000):
        attempts.failed(f"10.0.{n // 256}.{n % 256}")
    assert len(attempts._failed) == 1024
    sessions = auth.Sessions(lambda: now[0])
    names = [sessions.open() for _ in range(100)]
    assert [sessions.valid(name) for name in names] == [False] * 36 + [True] * 64
    sessions.close(names[99])
    now[0] += auth.SESSION_S
    assert not any(map(sessions.valid, names))


def test_hosts_and_origins(browser: Browser) -> None:
    browser.login()
    host = browser.origin.removeprefix("https://")
    for wrong in ("evil.example", f"evil.example:{host}", "localhost.evil.example", "", "[::1]"):
        for path in ("/", "/api/devices", "/login"):
            answer = checked(browser.http.get(path, headers={"Host": wrong}))
            assert answer.status_code == 421 and "evil" not in answer.text
    assert browser.http.get("/api/devices", headers={"Host": host.upper()}).status_code == 200
    for origin in (
        "https://evil.example",
        "null",
        f"http://{host}",
        "https://localhost",
        f"https://{host}.evil.example",
    ):
        assert checked(browser.http.get("/api/devices", headers={"Origin": origin})).status_code == 403
        with pytest.raises(InvalidStatus) as refused:
            browser.socket(origin=origin)
        assert refused.value.response.status_code == 403
        assert refused.value.response.headers["content-security-policy"] == login.policy()
    with pytest.raises(InvalidStatus) as refused:
        browser.socket(origin=None)
    assert refused.value.response.status_code == 403
    elsewhere = {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "no-cors"}
    assert browser.http.get("/static/app.js", headers=elsewhere).status_code == 403
    with browser.socket() as ws:
        assert "hello" in str(ws.recv(timeout=5))


def test_names() -> None:
    names = ("broker.home", "*.lan", "192.168.1.5", "fd00::1")
    good = ("broker.home", "BROKER.home:8443", "a.lan", "192.168.1.5:1", "[fd00::1]:8443", "broker.home.")
    assert all(auth.is_known(auth.host_name(host), names) for host in good)
    bad = ("home", "a.b.lan", "lan", "", ":8443", "x.broker.home", "*.lan.evil", "[", "broker.home@evil")
    assert not any(auth.is_known(auth.host_name(host), names) for host in bad)


def raw(page: Dashboard, pki: Pki, *pieces: bytes) -> bytes:
    """What the server says to these bytes until it ends the connection."""
    plain = socket.create_connection(("127.0.0.1", page.site.port), timeout=10)
    with trusting(pki).wrap_socket(plain, server_hostname="localhost") as tls:
        answer = b""
        try:
            for piece in pieces:
                tls.sendall(piece)
            while data := tls.recv(65536):
                answer += data
        except (ConnectionError, ssl.SSLError):
            pass
        return answer


def test_what_is_no_http_or_too_much(page: Dashboard, pki: Pki, browser: Browser) -> None:
    get = b"GET / HTTP/1.1\r\n"
    twice, long = b"Host: localhost\r\nHost: x\r\n\r\n", b"Host: localhost\r\nX: " + b"a" * 70000
    for junk in (b"\x00\xff\r\n\r\n", get + b"\r\n", get + twice, get + long):
        answer = raw(page, pki, junk)
        assert answer.startswith(b"HTTP/1.1 400 ") and b"content-security-policy: default-src" in answer
    head = b"POST /login HTTP/1.1\r\nHost: localhost\r\n"
    answer = raw(page, pki, head + b"Content-Length: 99999999\r\n\r\n" + b"a" * 100000)
    assert answer.startswith(b"HTTP/1.1 413 ")
    chunk = b"2000\r\n" + b"a" * 0x2000 + b"\r\n"
    answer = raw(page, pki, head + b"Transfer-Encoding: chunked\r\n\r\n", *[chunk] * 50)
    assert answer == b"" or answer.startswith(b"HTTP/1.1 413 ")
    # A handshake without a key: the library refuses it, with our headers. Elsewhere the wish is ignored.
    browser.login()
    wish = f"Host: localhost\r\nCookie: {SESSION}={browser.session}\r\nConnection: upgrade\r\nUpgrade: websocket\r\n"
    answer = raw(page, pki, f"GET /ws HTTP/1.1\r\n{wish}\r\n".encode())
    assert re.match(rb"HTTP/1.1 4\d\d ", answer) and b"ontent-security-policy: default-src" in answer
    answer = raw(page, pki, f"GET /api/devices HTTP/1.1\r\n{wish}Connection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_who_is_slow_is_let_go(pki: Pki, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(protocol, "REQUEST_S", 0.3)
    monkeypatch.setattr(protocol, "HANDSHAKE_S", 0.3)
    monkeypatch.setattr(protocol, "MOST_OF_ONE", 4)
    with Dashboard(settings(pki, free_port())) as page, Browser(pki, page) as browser:
        began = time.monotonic()
        assert raw(page, pki, b"GET / HTTP/1.1\r\nHost: local") == b""
        answer = raw(page, pki, b"POST /login HTTP/1.1\r\nHost: localhost\r\nContent-Length: 10\r\n\r\ntoken")
        assert answer == b""
        answer = raw(page, pki, b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\nGET / HTT")
        assert answer.startswith(b"HTTP/1.1 401 ") and answer.count(b"HTTP/1.1") == 1
        assert time.monotonic() - began < 5
        silent = [socket.create_connection(("127.0.0.1", page.site.port), timeout=5) for _ in range(6)]
        ends = []
        for one in silent:
            with closing(one):
                try:
                    ends.append(one.recv(10))
                except ConnectionError:
                    ends.append(b"")
        assert ends == [b""] * 6
        assert browser.http.get("/").status_code == 401


def test_plain_http_sends_on_and_nowhere_else(page: Dashboard) -> None:
    port = page.site.redirect_port
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", trust_env=False) as http:
        for path, host, place in (
            ("/", "localhost", "localhost"), ("/a%20b?c=d%26e", f"localhost:{port}", "localhost"),
            ("/x", "evil.example", "localhost"), ("//evil.example/x", "127.0.0.1", "127.0.0.1"),
            ("/%0d%0aSet-Cookie:a", "localhost", "localhost"), ("/@evil.example", "", "localhost"),
        ):  # fmt: skip
            answer = http.get(httpx.URL(f"http://127.0.0.1:{port}", raw_path=path.encode()), headers={"Host": host})
            assert answer.status_code == 308
            assert answer.headers["location"].lower() == f"https://{place}:{page.site.port}{path}".lower()
            assert "set-cookie" not in answer.headers
        assert http.post("/login", data={"token": page.token}).status_code == 403
        upgrade = {"Connection": "upgrade", "Upgrade": "websocket", "Sec-WebSocket-Version": "13"}
        assert http.get("/", headers=upgrade).status_code == 308
        assert http.get("/ws", headers=upgrade | {"Sec-WebSocket-Key": "AAAAAAAAAAAAAAAAAAAAAA=="}).status_code == 403


def test_certificates_in_place_of_the_token(pki: Pki) -> None:
    allowed = settings(pki, free_port(), mtls=("operator",))
    with Dashboard(allowed) as page:
        with Browser(pki, page, pki.clients["operator"]) as browser:
            assert checked(browser.http.get("/")).status_code == 200
            assert (
                browser.http.post("/login", data={"token": page.token}, headers={"Origin": browser.origin}).status_code
                == 404
            )
            assert browser.http.post("/api/devices").status_code == 403
            with browser.socket() as ws:
                assert '"mtls":true' in str(ws.recv(timeout=5))
            with pytest.raises(InvalidStatus):
                browser.socket(origin="https://evil.example")
        with Browser(pki, page, pki.clients["dev-1"]) as browser:
            for path in paths_of_mtls(page):
                assert checked(browser.http.get(path)).status_code == 403, path
            with pytest.raises(InvalidStatus) as refused:
                browser.socket()
            assert refused.value.response.status_code == 403
        for me in (None, pki.stranger, pki.server):
            with Browser(pki, page, me) as browser, pytest.raises((httpx.ReadError, httpx.RemoteProtocolError)):
                browser.http.get("/")


def paths_of_mtls(page: Dashboard) -> list[str]:
    return [re.sub(r"\{.*?\}", "dev-1", route.path) for route in page.site.page.routes()]


def test_the_tls_of_the_page(page: Dashboard, pki: Pki) -> None:
    old = trusting(pki)
    old.minimum_version, old.maximum_version = ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("DEFAULT@SECLEVEL=0")
    no_secrecy = trusting(pki)
    no_secrecy.maximum_version = ssl.TLSVersion.TLSv1_2
    no_secrecy.set_ciphers("ECDHE-ECDSA-AES128-SHA:AES128-GCM-SHA256")
    for context in (old, no_secrecy):
        with pytest.raises(ssl.SSLError), socket.create_connection(("127.0.0.1", page.site.port)) as plain:
            context.wrap_socket(plain, server_hostname="localhost")
    with pytest.raises(httpx.ConnectError, match="CERTIFICATE_VERIFY_FAILED"):
        httpx.get(page.url, verify=ssl.create_default_context(), trust_env=False)


def test_what_cannot_be_served(pki: Pki, page: Dashboard, tmp_path: Path) -> None:
    with pytest.raises(Failure) as failure:
        Dashboard(settings(pki, 1, port=page.site.port))
    assert "Address already in use" in failure.value.because
    with pytest.raises(Failure) as failure:
        Dashboard(settings(pki, 1, key=pki.stranger.key_pem))
    assert failure.value.code == Exit.USAGE and str(pki.stranger.key_pem) in failure.value.because
    assert dict(login.headers(loopback=False))["strict-transport-security"].startswith("max-age=")
