"""POST over verified TLS: what a server receives is what was given, on CPython and on MicroPython."""

import contextlib
import http.server
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from host_tools.servers import _TlsServer
from tests.device_runner import INTERPRETERS, run_job
from tests.integration.conftest import Pki


@contextlib.contextmanager
def server(pki: Pki) -> Iterator[tuple[int, list[dict[str, Any]]]]:
    """An HTTPS server that keeps what is posted to /in, sends /moved elsewhere, and never answers /slow."""
    got: list[dict[str, Any]] = []
    over = threading.Event()

    class Taker(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _take(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.path == "/slow":
                over.wait(20)
                return
            moved = self.path == "/moved"
            if not moved:
                got.append({"method": self.command, "path": self.path, "headers": self.headers, "body": body})
            self.send_response(307 if moved else 201)
            if moved:
                self.send_header("Location", "/in")
            self.send_header("Content-Length", "5")
            self.end_headers()
            self.wfile.write(b"taken")

        do_GET = do_POST = _take  # noqa: N815

        def log_message(self, format: str, *args: object) -> None:
            pass

    here = _TlsServer(("127.0.0.1", 0), Taker)
    here.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    here.context.load_cert_chain(pki.server.cert_pem, pki.server.key_pem)
    thread = threading.Thread(target=here.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield here.server_address[1], got
    finally:
        over.set()
        here.shutdown()
        thread.join()
        here.server_close()


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_post(interpreter: str, pki: Pki, tmp_path: Path) -> None:
    with server(pki) as (port, got):
        place = f"https://localhost:{port}"
        steps = [
            {"do": "post", "url": place + "/in?a=1", "body": '{"t": 21.5}', "headers": {"X-Signature": "abc"}},
            {"do": "post", "url": place + "/in", "bytes": 4096, "content_type": "application/octet-stream"},
            {"do": "post", "url": place + "/in", "bytes": 4097},
            {"do": "post", "url": place + "/moved", "body": "x"},
            {"do": "post", "url": place + "/slow", "body": "x"},
            {"do": "post", "url": place + "/in", "body": ""},
            {"do": "post", "url": place + "/in", "body": "x", "headers": {"X-Bad": "a\r\nb"}},
            {"do": "get", "url": place + "/in"},
        ]
        job = {"roots": [str(pki.authority.cert_der)], "clock": int(time.time()), "timeout_ms": 1500, "steps": steps}
        said = run_job(interpreter, job, tmp_path)
        stranger = {**job, "roots": [str(pki.stranger.cert_der)], "steps": steps[:1]}
        refused = run_job(interpreter, stranger, tmp_path)
    assert [step.get("code") or step["status"] for step in said] == [
        201, 201, "HTTP_TOO_LARGE", "HTTP_REDIRECTS", "HTTP_TIMEOUT", 201, "HTTP_URL", 201,
    ]  # fmt: skip
    assert refused[0]["code"].startswith("CERT_")
    assert said[0]["body"] == "taken"
    assert [(row["method"], row["path"], len(row["body"])) for row in got] == [
        ("POST", "/in?a=1", 11), ("POST", "/in", 4096), ("POST", "/in", 0), ("GET", "/in", 0),
    ]  # fmt: skip
    first = got[0]["headers"]
    assert got[0]["body"] == b'{"t": 21.5}'
    assert (first["Content-Type"], first["Content-Length"], first["X-Signature"]) == ("application/json", "11", "abc")
    assert got[1]["headers"]["Content-Type"] == "application/octet-stream"
    assert got[1]["body"] == b"\xff" * 4096
    assert (got[2]["headers"]["Content-Length"], got[3]["headers"]["Content-Length"]) == ("0", None)
