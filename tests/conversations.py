"""TLS conversations that this machine's own TLS holds with itself, in memory, by mutual TLS."""

import ssl
import tempfile
from functools import lru_cache
from pathlib import Path

from host_tools import ca


def _drive(step):
    try:
        step()
    except ssl.SSLWantReadError:
        return False
    except ssl.SSLZeroReturnError:
        pass
    return True


@lru_cache
def conversation(version: ssl.TLSVersion) -> list[tuple[str, bytes]]:
    """What "client" and "server" send, in order: handshake, a word each, close_notify from both."""
    with tempfile.TemporaryDirectory() as folder:
        authority = ca.init(Path(folder) / "ca", subject="/CN=Words CA")
        ours, theirs = authority.issue_server(["localhost"]), authority.issue_device("me")
        server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        server.load_cert_chain(ours.cert_pem, ours.key_pem)
        server.load_verify_locations(authority.cert_pem)
        server.verify_mode = ssl.CERT_REQUIRED
        client = ssl.create_default_context(cafile=str(authority.cert_pem))
        client.load_cert_chain(theirs.cert_pem, theirs.key_pem)
        client.minimum_version = client.maximum_version = version
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    c = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    s = server.wrap_bio(to_server, to_client, server_side=True)
    said: list[tuple[str, bytes]] = []

    def both(first, second):
        """Both until both are done; each piece is noted as it goes over."""
        done = [False, False]
        while not all(done):
            for i, (name, step, out) in enumerate((("client", first, to_server), ("server", second, to_client))):
                done[i] = done[i] or _drive(step)
                if out.pending:
                    data = out.read()
                    said.append((name, data))
                    out.write(data)

    both(c.do_handshake, s.do_handshake)
    both(lambda: c.write(b"ping"), lambda: s.read(4))
    both(lambda: None, lambda: s.write(b"pong"))
    both(lambda: c.read(4), lambda: None)
    both(c.unwrap, s.unwrap)
    return said
