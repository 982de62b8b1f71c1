"""Small servers on loopback for the demo and the tests: HTTPS and SNTP, each a context manager."""

import contextlib
import http.server
import socket
import ssl
import struct
import threading
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

_1900_TO_1970 = 2208988800


def _chunked(body: bytes, size: int) -> bytes:
    """A body in the chunked coding (RFC 9112 section 7.1), `size` bytes a chunk."""
    pieces = (body[i : i + size] for i in range(0, len(body), size))
    return b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"


class _Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    timeout = 10
    disable_nagle_algorithm = True
    routes: dict[str, bytes]
    chunk: int

    def do_GET(self) -> None:
        """Answer with the route's bytes, or 404."""
        body = self.routes.get(self.path)
        self.send_response(200 if body is not None else 404)
        self.send_header("Content-Type", "text/plain; charset=utf-8")
        if self.chunk:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(_chunked(body or b"", self.chunk) if self.chunk else body or b"")

    def log_message(self, format: str, *args: object) -> None:
        """Nothing: who asks is told by the client."""


class _TlsServer(http.server.ThreadingHTTPServer):
    daemon_threads = True
    context: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        """The handshake, in the connection's own thread, so that one slow client cannot hold up the rest."""
        request.settimeout(10)
        with contextlib.suppress(OSError), self.context.wrap_socket(request, server_side=True) as tls:
            super().finish_request(tls, client_address)
            tls.settimeout(0)  # say goodbye, and wait for none: MicroPython sends none
            tls.unwrap()


class HttpsServer:
    """An HTTPS server (TLS 1.2 or newer), on 127.0.0.1 and a free port where nothing else is said.

    Args: cert, key: PEM files, the chain with the leaf first. routes: path to body.
        key_log: file of mode 0600 that the secrets of each connection are added to, for captures only.
        place: address and port to listen on. chunk: bytes a chunk of the chunked coding; 0 for a Content-Length.
        devices: PEM file of the CA whose certificates clients must show.
    """

    def __init__(
        self,
        cert: Path,
        key: Path,
        routes: dict[str, bytes],
        key_log: Path | None = None,
        place: tuple[str, int] = ("127.0.0.1", 0),
        chunk: int = 0,
        devices: Path | None = None,
    ) -> None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        context.load_cert_chain(cert, key)
        if devices:
            context.load_verify_locations(devices)
            context.verify_mode = ssl.CERT_REQUIRED
        if key_log:
            context.keylog_filename = str(key_log)
        handler = type("Pages", (_Pages,), {"routes": dict(routes), "chunk": chunk})
        self._server = _TlsServer(place, handler)
        self._server.context = context
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class SntpServer:
    """An SNTP server (RFC 4330) on 127.0.0.1.

    Args: offset_s: seconds added to this machine's clock. mode: "good", or how it misbehaves. port: 0: a free one.
    Raises: OSError where the port is taken.
    """

    def __init__(
        self,
        offset_s: int = 0,
        mode: Literal["good", "silent", "kiss-of-death", "wrong-originate"] = "good",
        port: int = 0,
    ) -> None:
        self._offset = offset_s
        self._mode = mode
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        try:
            self._socket.bind(("127.0.0.1", port))
        except OSError:
            self._socket.close()
            raise
        self.port: int = self._socket.getsockname()[1]
        self._thread = threading.Thread(target=self._serve, daemon=True)

    def _reply(self, request: bytes) -> bytes:
        now = time.time() + self._offset + _1900_TO_1970
        stamp = struct.pack("!II", int(now) % 2**32, int(now % 1 * 2**32))
        stratum = 0 if self._mode == "kiss-of-death" else 2
        originate = bytes(8) if self._mode == "wrong-originate" else request[40:48]
        head = bytes((0x24, stratum, 6, 0xEC)) + bytes(8) + b"LOCL"
        return head + stamp + originate + stamp + stamp

    def _serve(self) -> None:
        while True:
            request, address = self._socket.recvfrom(128)
            if not request:
                return
            if len(request) >= 48 and self._mode != "silent":
                self._socket.sendto(self._reply(request), address)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        # An empty datagram from here wakes the thread and ends it.
        self._socket.sendto(b"", ("127.0.0.1", self.port))
        self._thread.join()
        self._socket.close()
