"""Takes the readings: an HTTPS server that checks the signature, forgets what it has had already, and prints the rest.

Usage: python3 receiver.py CERT KEY SECRET_FILE [--port 8443] [--busy N]
"""

import argparse
import hashlib
import hmac
import http.server
import json
import re
import ssl
import time
from collections import OrderedDict
from pathlib import Path

OLDEST_S = 300
MOST_BYTES = 8192
REMEMBERED = 10_000
SEEN: OrderedDict[str, None] = OrderedDict()


class Receiver(http.server.BaseHTTPRequestHandler):
    """One request: 200 taken, 401 not signed as agreed, 400 no readings, 413 too much, 503 the first --busy times."""

    timeout = 10
    secret = b""
    busy = 0

    def do_POST(self) -> None:
        """Check, then print what is new."""
        size = self.headers.get("Content-Length", "")
        if not size.isdecimal() or int(size) > MOST_BYTES:
            return self._answer(413)
        body = self.rfile.read(int(size))
        if not self._signed(body):
            return self._answer(401)
        if Receiver.busy > 0:
            Receiver.busy -= 1
            return self._answer(503)
        try:
            readings = [(str([r["device"], r["boot"], r["seq"]]), r) for r in json.loads(body)]
        except (ValueError, TypeError, KeyError):
            return self._answer(400)
        for name, reading in readings:
            if name not in SEEN:
                SEEN[name] = None
                print("reading:", json.dumps(reading), flush=True)
        while len(SEEN) > REMEMBERED:
            SEEN.popitem(last=False)
        return self._answer(200)

    def _signed(self, body: bytes) -> bool:
        found = re.fullmatch(r"t=(\d{1,12}),v1=([0-9a-f]{64})", self.headers.get("X-Signature", ""))
        if not found or abs(time.time() - int(found[1])) > OLDEST_S:
            return False
        right = hmac.new(self.secret, found[1].encode() + b"." + body, hashlib.sha256).hexdigest()
        return hmac.compare_digest(right, found[2])

    def _answer(self, status: int) -> None:
        print("status:", status, flush=True)
        self.send_response(status)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        """Nothing beside what _answer says."""


class Server(http.server.ThreadingHTTPServer):
    """The handshake is in the connection's own thread: who is slow holds up nobody."""

    daemon_threads = True
    context: ssl.SSLContext

    def finish_request(self, request, client_address) -> None:
        """Encrypt, then serve."""
        request.settimeout(10)
        try:
            with self.context.wrap_socket(request, server_side=True) as tls:
                super().finish_request(tls, client_address)
        except OSError as error:
            print("connection:", error, flush=True)


def main() -> None:
    """Serve until Ctrl-C."""
    options = argparse.ArgumentParser()
    for name in ("cert", "key", "secret"):
        options.add_argument(name, type=Path)
    options.add_argument("--port", type=int, default=8443)
    options.add_argument("--busy", type=int, default=0, help="answer so often 503 first, to see the board try again")
    given = options.parse_args()
    Receiver.secret = given.secret.read_bytes().strip()
    Receiver.busy = given.busy
    server = Server(("127.0.0.1", given.port), Receiver)
    server.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    server.context.load_cert_chain(given.cert, given.key)
    print(f"listening on port {server.server_address[1]}; Ctrl-C ends it", flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("ended")


if __name__ == "__main__":
    main()
