"""Whether `rootlet ca trust` makes a real Chromium accept the project's servers, and those alone."""

import contextlib
import http.server
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from host_tools import ca
from tests.browser import chromium


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        body = b"<!doctype html><html lang=en><title>here</title><link rel=icon href='data:,'><h1>It is I.</h1>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def https(issued: ca.Issued) -> Iterator[int]:
    class Quiet(http.server.ThreadingHTTPServer):
        daemon_threads = True

        def handle_error(self, *_: object) -> None:
            pass

    server = Quiet(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.cert_pem, issued.key_pem)
    server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield server.server_address[1]
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture(scope="module")
def ours(tmp_path_factory: pytest.TempPathFactory) -> ca.Authority:
    return ca.init(tmp_path_factory.mktemp("ours") / "ca")


@pytest.fixture(scope="module")
def strangers(tmp_path_factory: pytest.TempPathFactory) -> ca.Authority:
    """Another CA of the same name."""
    return ca.init(tmp_path_factory.mktemp("strangers") / "ca")


def test_the_project_ca_is_accepted_and_no_other(ours: ca.Authority, strangers: ca.Authority) -> None:
    chromium.program()
    from playwright.sync_api import Error

    mine = ours.issue_server(["localhost"], ["127.0.0.1"])
    named = ours.issue_server(["other.example"])
    with chromium.chromium(ours.cert_pem) as browser, chromium.page_of(browser) as (page, watched):
        with https(mine) as port:
            for host in ("localhost", "127.0.0.1"):
                page.goto(f"https://{host}:{port}/")
                assert page.inner_text("h1") == "It is I."
                facts = page.evaluate("isSecureContext")
                assert facts is True
            assert chromium.axe(page) == [
                "moderate landmark-one-main: Document should have one main landmark at [['html']]",
                "moderate region: All page content should be contained by landmarks at [['h1']]",
            ]
        watched.clean()
        for issued, reason in (
            (strangers.issue_server(["localhost"]), "ERR_CERT_AUTHORITY_INVALID"),
            (named, "ERR_CERT_COMMON_NAME_INVALID"),
        ):
            with https(issued) as port, pytest.raises(Error, match=reason):
                page.goto(f"https://localhost:{port}/")


def test_without_the_trust_it_is_refused(ours: ca.Authority, tmp_path: Path) -> None:
    chromium.program()
    from playwright.sync_api import Error

    mine = ours.issue_server(["localhost"], force=True)
    with chromium.chromium() as browser, chromium.page_of(browser) as (page, _), https(mine) as port:
        with pytest.raises(Error, match="ERR_CERT_AUTHORITY_INVALID"):
            page.goto(f"https://localhost:{port}/")
