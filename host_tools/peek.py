"""Looks at the certificates a server sends. Nothing is verified here, and nothing that is seen may be trusted."""

import socket
import ssl

from cryptography import x509

from host_tools.failure import Exit, Failure

_TIMEOUT_S = 15
_MOST_CERTIFICATES = 16


def split_place(place: str, port: int = 443) -> tuple[str, int]:
    """HOST[:PORT] as (host, port). Raises Failure (usage)."""
    host, colon, text = place.rpartition(":") if not place.endswith("]") else (place, "", "")
    if not colon:
        host, text = place, str(port)
    host = host.strip("[]")
    if not host or not (text.isascii() and text.isdigit() and 0 < int(text) < 65536):
        raise Failure(f"'{place}' is no HOST[:PORT]", "a name or address is needed, and a port from 1 to 65535",
                      "example.org:443", Exit.USAGE)  # fmt: skip
    return host, int(text)


def chain_of(place: str) -> list[x509.Certificate]:
    """The certificates that a server sends, leaf first, at most 16.

    Args: place: HOST[:PORT]. Raises Failure where there is no TLS server.
    """
    from OpenSSL import SSL

    host, port = split_place(place)
    context = SSL.Context(SSL.TLS_CLIENT_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_verify(SSL.VERIFY_NONE, lambda *_: True)
    try:
        with socket.create_connection((host, port), timeout=_TIMEOUT_S) as raw:
            raw.settimeout(None)  # pyOpenSSL wants a blocking socket; the deadline is the kernel's
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, _TIMEOUT_S.to_bytes(8, "little") + bytes(8))
            connection = SSL.Connection(context, raw)
            if not _is_address(host):
                connection.set_tlsext_host_name(host.encode("idna"))
            connection.set_connect_state()
            connection.do_handshake()
            chain = connection.get_peer_cert_chain(as_cryptography=True) or []
    except (OSError, SSL.Error, ssl.SSLError, UnicodeError) as e:
        because = (getattr(e, "strerror", None) or str(e) or type(e).__name__)[:200]
        raise Failure(f"no look at {host}:{port}", because, f"openssl s_client -connect {host}:{port}") from None
    if not chain:
        raise Failure(f"no look at {host}:{port}", "it sends no certificate", "check the port")
    return list(chain[:_MOST_CERTIFICATES])


def _is_address(host: str) -> bool:
    import ipaddress

    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True
