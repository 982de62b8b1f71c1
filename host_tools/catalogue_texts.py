"""Error texts and numbers of others, word for word as they print them, and the codes of our catalogue they lead to."""

from typing import NamedTuple


class Text(NamedTuple):
    """A text that others print. codes: of the catalogue, likeliest first. note: what it means here, or empty."""

    text: str
    codes: tuple[str, ...]
    note: str = ""


class Number(NamedTuple):
    """What a number is called, and where. codes: of the catalogue, likeliest first."""

    name: str
    where: str
    codes: tuple[str, ...]


_PROXY = "An alert is logged by the side that received it: in a server's log it means that the client refused."
_PEM = "Boards read DER, not PEM; Rootlet's tools write DER."

# What MicroPython and Mbed TLS print on a board.
BOARD = (
    Text("The certificate is not correctly signed by the trusted CA", ("CERT_UNKNOWN_CA", "CERT_INCOMPLETE", "TLS_MEMORY"), "On rp2 boards it is also what is printed when memory runs out while an RSA chain is checked."),
    Text("The certificate validity has expired", ("CERT_EXPIRED", "CLOCK_NOT_SET")),
    Text("The certificate validity starts in the future", ("CERT_NOT_YET_VALID", "CLOCK_NOT_SET"), "Most often the board's clock was never set."),
    Text("The certificate Common Name (CN) does not match with the expected CN", ("CERT_NAME", "CERT_NO_SAN"), "Mbed TLS says so of the subject alternative names, too."),
    Text("Usage does not match the keyUsage extension", ("CERT_USAGE",)),
    Text("Usage does not match the extendedKeyUsage extension", ("CERT_USAGE",)),
    Text("Usage does not match the nsCertType extension", ("CERT_USAGE",)),
    Text("The certificate is signed with an unacceptable hash", ("CERT_WEAK_SIGNATURE",)),
    Text("The certificate is signed with an unacceptable PK alg (eg RSA vs ECDSA)", ("CERT_WEAK_SIGNATURE",)),
    Text("The certificate is signed with an unacceptable key (eg bad curve, RSA too short)", ("CERT_WEAK_KEY",)),
    Text("Certificate was missing", ("TLS_FAILED",), "The server sent no certificate at all."),
    Text("Other reason (can be used by verify callback)", ("TLS_FAILED",), "A verify callback refused the certificate without saying why."),
    Text("CERT_REQUIRED requires server_hostname", ("CERT_NAME",), "wrap_socket was called without server_hostname, so that there is no name to check. Rootlet always gives it."),
    Text("invalid cert", ("TLS_NO_ROOTS", "TLS_IDENTITY"), _PEM),
    Text("invalid key", ("TLS_IDENTITY",), _PEM),
    Text("memory allocation failed", ("MEMORY", "TLS_MEMORY")),
    Text("MemoryError", ("MEMORY", "TLS_MEMORY")),
    Text("Wifi Internal Error", ("WIFI_FAILED",)),
    Text("Wifi Internal State Error", ("WIFI_FAILED",), "connect() was called while a connection was still being made: call disconnect() first."),
    Text("failed to start CYW43", ("WIFI_FAILED",), "The radio of a Pico W did not start: cut the power."),
    Text("STAT_WRONG_PASSWORD", ("WIFI_WRONG_PASSWORD",)),
    Text("STAT_NO_AP_FOUND", ("WIFI_NO_AP",)),
    Text("STAT_CONNECT_FAIL", ("WIFI_FAILED",)),
    Text("ntptime.py", ("CLOCK_NOT_SET",), "MicroPython's ntptime asks one server with one packet, which is easily lost. Rootlet asks several."),
)  # fmt: skip

# What OpenSSL and Python's ssl print, in the log of a broker or of a tool on a computer.
OPENSSL = (
    Text("unable to get local issuer certificate", ("CERT_UNKNOWN_CA", "CERT_INCOMPLETE")),
    Text("unable to get issuer certificate", ("CERT_UNKNOWN_CA", "CERT_INCOMPLETE")),
    Text("unable to verify the first certificate", ("CERT_INCOMPLETE", "CERT_UNKNOWN_CA")),
    Text("unable to verify leaf signature", ("CERT_INCOMPLETE", "CERT_UNKNOWN_CA")),
    Text("self-signed certificate in certificate chain", ("CERT_UNKNOWN_CA",), "The server sends its root along; that root is not trusted."),
    Text("self signed certificate in certificate chain", ("CERT_UNKNOWN_CA",), "The server sends its root along; that root is not trusted."),
    Text("self-signed certificate", ("CERT_SELF_SIGNED",)),
    Text("self signed certificate", ("CERT_SELF_SIGNED",)),
    Text("certificate has expired", ("CERT_EXPIRED",)),
    Text("certificate is not yet valid", ("CERT_NOT_YET_VALID", "CLOCK_NOT_SET")),
    Text("Hostname mismatch", ("CERT_NAME", "CERT_NO_SAN")),
    Text("IP address mismatch", ("CERT_NAME", "CERT_IP_IN_DNS")),
    Text("host name verification failed", ("CERT_NAME", "CERT_NO_SAN")),
    Text("certificate verify failed", ("CERT_UNKNOWN_CA",), "The words after it say why."),
    Text("unsuitable certificate purpose", ("CERT_USAGE",)),
    Text("unsupported certificate purpose", ("CERT_USAGE",)),
    Text("invalid CA certificate", ("CERT_USAGE",)),
    Text("path length constraint exceeded", ("CERT_CHAIN",)),
    Text("unhandled critical extension", ("CERT_EXTENSION",)),
    Text("permitted subtree violation", ("CERT_EXTENSION",)),
    Text("EE certificate key too weak", ("CERT_WEAK_KEY",)),
    Text("ee key too small", ("CERT_WEAK_KEY",)),
    Text("ca key too small", ("CERT_WEAK_KEY",)),
    Text("ca md too weak", ("CERT_WEAK_SIGNATURE",)),
    Text("key values mismatch", ("TLS_IDENTITY",)),
    Text("[SSL] PEM lib", ("TLS_IDENTITY",), "A file that should hold PEM holds something else: boards take .der, tools on a computer .pem."),
    Text("NO_CERTIFICATE_OR_CRL_FOUND", ("TLS_NO_ROOTS",), "The CA file holds no PEM certificate."),
    Text("tlsv1 alert unknown ca", ("CERT_UNKNOWN_CA", "TLS_REFUSED"), _PROXY),
    Text("sslv3 alert certificate unknown", ("CERT_UNKNOWN_CA", "TLS_REFUSED"), _PROXY),
    Text("sslv3 alert bad certificate", ("CERT_UNKNOWN_CA", "TLS_REFUSED"), _PROXY),
    Text("sslv3 alert unsupported certificate", ("CERT_WEAK_KEY", "TLS_REFUSED"), _PROXY),
    Text("sslv3 alert certificate expired", ("CERT_EXPIRED", "TLS_REFUSED"), _PROXY),
    Text("sslv3 alert certificate revoked", ("TLS_REFUSED",), _PROXY),
    Text("sslv3 alert handshake failure", ("TLS_VERSION", "TLS_REFUSED"), _PROXY),
    Text("tlsv13 alert certificate required", ("TLS_REFUSED",), "The client sent no certificate, and the server wants one."),
    Text("tlsv1 alert access denied", ("TLS_REFUSED",), _PROXY),
    Text("tlsv1 alert decrypt error", ("TLS_REFUSED", "TLS_PSK"), _PROXY),
    Text("tlsv1 alert decode error", ("TLS_FAILED",), _PROXY),
    Text("tlsv1 alert internal error", ("TLS_FAILED",), _PROXY),
    Text("tlsv1 alert protocol version", ("TLS_VERSION",), _PROXY),
    Text("tlsv1 alert insufficient security", ("TLS_VERSION",), _PROXY),
    Text("tlsv1 alert no application protocol", ("TLS_VERSION",), _PROXY),
    Text("tlsv1 alert user cancelled", ("TLS_CLOSED",), _PROXY),
    Text("tlsv1 unrecognized name", ("CERT_NAME",), "The server does not know the host name (SNI) it was asked for."),
    Text("tlsv1 alert unknown psk identity", ("TLS_PSK",), _PROXY),
    Text("sslv3 alert bad record mac", ("TLS_FAILED", "TLS_PSK"), _PROXY),
    Text("sslv3 alert unexpected message", ("TLS_NOT_TLS",), _PROXY),
    Text("sslv3 alert illegal parameter", ("TLS_VERSION",), _PROXY),
    Text("no shared cipher", ("TLS_VERSION",), "A server logs this when client and certificate leave no cipher suite: an RSA-only client and an EC key, say."),
    Text("no suitable signature algorithm", ("TLS_VERSION",)),
    Text("no ciphers available", ("TLS_VERSION",)),
    Text("dh key too small", ("TLS_VERSION",)),
    Text("unsupported protocol", ("TLS_VERSION",)),
    Text("version too low", ("TLS_VERSION",)),
    Text("no protocols available", ("TLS_VERSION",)),
    Text("wrong version number", ("TLS_NOT_TLS",), "The first bytes were no TLS record."),
    Text("unknown protocol", ("TLS_NOT_TLS",)),
    Text("SSL routines::http request", ("TLS_NOT_TLS",), "A client speaks plain HTTP to a TLS port."),
    Text("[SSL: HTTP_REQUEST] http request", ("TLS_NOT_TLS",), "A client speaks plain HTTP to a TLS port."),
    Text("record layer failure", ("TLS_NOT_TLS",)),
    Text("packet length too long", ("TLS_NOT_TLS",)),
    Text("peer did not return a certificate", ("TLS_REFUSED",), "The client sent no certificate, and this server wants one."),
    Text("unexpected eof while reading", ("TLS_CLOSED", "NET_CLOSED")),
    Text("EOF occurred in violation of protocol", ("TLS_CLOSED", "NET_CLOSED")),
    Text("decryption failed or bad record mac", ("TLS_FAILED", "TLS_PSK")),
    Text("psk identity not found", ("TLS_PSK",)),
    Text("handshake operation timed out", ("TLS_TIMEOUT",)),
    Text("A TLS error occurred", ("TLS_FAILED",), "mosquitto_sub and mosquitto_pub say no more; -d or the broker's log does."),
)  # fmt: skip

# What systems, brokers and MQTT clients print.
OTHERS = (
    Text("Connection refused", ("TCP_REFUSED",)),
    Text("Connection reset by peer", ("NET_CLOSED",)),
    Text("Connection aborted", ("NET_CLOSED",)),
    Text("Broken pipe", ("NET_CLOSED",)),
    Text("No route to host", ("TCP",)),
    Text("Network is unreachable", ("TCP",)),
    Text("Connection timed out", ("TCP_TIMEOUT",)),
    Text("Operation timed out", ("TCP_TIMEOUT", "NET_TIMEOUT")),
    Text("Name or service not known", ("DNS",)),
    Text("No address associated with hostname", ("DNS",)),
    Text("nodename nor servname provided", ("DNS",)),
    Text("Temporary failure in name resolution", ("DNS",)),
    Text("Connection Refused: unacceptable protocol version", ("MQTT_REFUSED",)),
    Text("Connection Refused: identifier rejected", ("MQTT_REFUSED",)),
    Text("Connection Refused: broker unavailable", ("MQTT_UNAVAILABLE",)),
    Text("Connection Refused: bad user name or password", ("MQTT_REFUSED",)),
    Text("Connection Refused: not authorised", ("MQTT_REFUSED",)),
    Text("disconnected, not authorised", ("MQTT_REFUSED",)),
    Text("bad user name or password", ("MQTT_REFUSED",)),
    Text("Not authorized", ("MQTT_REFUSED",)),
    Text("already connected, closing old connection", ("MQTT_CLOSED",), "Two clients use one client id."),
    Text("session taken over", ("MQTT_CLOSED",), "Two clients use one client id."),
    Text("exceeded timeout, disconnecting", ("MQTT_TIMEOUT", "MQTT_CLOSED"), "The broker heard nothing for one and a half keepalives."),
    Text("disconnected due to protocol error", ("MQTT_PACKET",)),
    Text("disconnected due to malformed packet", ("MQTT_PACKET",)),
    Text("Denied SUBSCRIBE", ("MQTT_SUBSCRIBE",)),
    Text("nothing arrived", ("MQTT_REFUSED",), "A broker drops in silence what its access list forbids: is \"device\" in config.json the name in the board's certificate?"),
    Text("Socket error on client", ("MQTT_CLOSED", "NET_CLOSED")),
)  # fmt: skip

TEXTS = BOARD + OPENSSL + OTHERS

_LINUX = "rp2, unix"
_BOTH = "rp2, esp32, unix"

# errno: the numbers differ by port. rp2 has MicroPython's own (those of Linux), esp32 those of newlib.
ERRNO = {
    5: (Number("EIO", _BOTH, ("TCP",)),),
    11: (Number("EAGAIN", _BOTH, ("NET_TIMEOUT",)),),
    12: (Number("ENOMEM", _BOTH, ("TLS_MEMORY", "MEMORY")),),
    16: (Number("EBUSY, or Mbed TLS's MPI_ALLOC_FAILED", _BOTH, ("TLS_MEMORY",)),),
    23: (Number("ENFILE", "esp32", ("TCP",)),),
    32: (Number("EPIPE", _BOTH, ("NET_CLOSED",)),),
    54: (Number("ECONNRESET", "macOS", ("NET_CLOSED",)),),
    60: (Number("ETIMEDOUT", "macOS", ("TCP_TIMEOUT", "NET_TIMEOUT")),),
    61: (Number("ECONNREFUSED", "macOS", ("TCP_REFUSED",)),),
    65: (Number("EHOSTUNREACH", "macOS", ("TCP",)),),
    101: (Number("ENETUNREACH", "unix", ("TCP",)),),
    103: (Number("ECONNABORTED", _LINUX, ("NET_CLOSED", "TCP_REFUSED")),),
    104: (Number("ECONNRESET", _BOTH, ("NET_CLOSED", "TCP_REFUSED")),),
    105: (Number("ENOBUFS", _BOTH, ("TCP", "MEMORY")),),
    106: (Number("EISCONN, or Mbed TLS's ASN1_ALLOC_FAILED", _LINUX, ("TLS_MEMORY",)),),
    107: (Number("ENOTCONN", _LINUX, ("NET_CLOSED",)),),
    110: (Number("ETIMEDOUT", _LINUX, ("TCP_TIMEOUT", "NET_TIMEOUT", "CLOCK_NOT_SET")),),
    111: (Number("ECONNREFUSED", _BOTH, ("TCP_REFUSED",)),),
    113: (Number("EHOSTUNREACH", _LINUX, ("TCP",)), Number("ECONNABORTED", "esp32", ("NET_CLOSED", "TCP_REFUSED"))),
    114: (Number("EALREADY", _LINUX, ("TCP",)), Number("ENETUNREACH", "esp32", ("TCP",))),
    115: (Number("EINPROGRESS", _LINUX, ("TCP_TIMEOUT",)), Number("ENETDOWN", "esp32", ("TCP",))),
    116: (Number("ETIMEDOUT", "esp32", ("TCP_TIMEOUT", "NET_TIMEOUT", "CLOCK_NOT_SET")),),
    117: (Number("EHOSTDOWN", "esp32", ("TCP",)),),
    118: (Number("EHOSTUNREACH", "esp32", ("TCP",)),),
    119: (Number("EINPROGRESS", "esp32", ("TCP_TIMEOUT",)),),
    120: (Number("EALREADY", "esp32", ("TCP",)),),
    127: (Number("EISCONN", "esp32", ("TCP",)),),
    128: (Number("ENOTCONN", "esp32", ("NET_CLOSED",)),),
    -2: (Number("name not known", "rp2, esp32, unix: getaddrinfo", ("DNS",)),),
    -3: (Number("no answer from the DNS server", "unix: getaddrinfo", ("DNS",)),),
    -6: (Number("name not resolved", "rp2: getaddrinfo", ("DNS",)),),
    -16: (Number("no network, or an empty name", "rp2: getaddrinfo", ("DNS",)),),
    -200: (Number("EAI_NONAME", "esp32: getaddrinfo", ("DNS",)),),
    -202: (Number("EAI_FAIL", "esp32: getaddrinfo", ("DNS",)),),
    -203: (Number("EAI_MEMORY", "esp32: getaddrinfo", ("DNS", "MEMORY")),),
    -210: (Number("HOST_NOT_FOUND", "esp32: getaddrinfo", ("DNS",)),),
}

# What the state names of the board files lead to.
WLAN = {
    "wrong_password": "WIFI_WRONG_PASSWORD",
    "no_ap": "WIFI_NO_AP",
    "no_ip": "WIFI_NO_DHCP",
    "failed": "WIFI_FAILED",
}

# CONNACK return codes, MQTT 3.1.1 section 3.2.2.3.
CONNACK = {
    0: ("accepted: not an error", ()),
    1: ("the broker does not speak this version of MQTT", ("MQTT_REFUSED",)),
    2: ("the client id is not allowed", ("MQTT_REFUSED",)),
    3: ("the broker is not available", ("MQTT_UNAVAILABLE",)),
    4: ("user name or password are wrong", ("MQTT_REFUSED",)),
    5: ("not authorised", ("MQTT_REFUSED",)),
    128: ("the subscription was refused", ("MQTT_SUBSCRIBE",)),
}

# Alert descriptions, RFC 5246 section 7.2 and RFC 8446 section 6: (name, what it means, our codes as seen by the board).
ALERTS: dict[int, tuple[str, str, tuple[str, ...]]] = {
    0: ("close_notify", "the sender says goodbye: not an error", ("NET_CLOSED",)),
    10: ("unexpected_message", "a message came that has no place at this point", ("TLS_NOT_TLS",)),
    20: ("bad_record_mac", "a record was altered, or the keys differ", ("TLS_FAILED", "TLS_PSK")),
    21: ("decryption_failed", "as 20, of old versions", ("TLS_FAILED",)),
    22: ("record_overflow", "a record is longer than allowed", ("TLS_NOT_TLS",)),
    30: ("decompression_failure", "compressed data is damaged, of old versions", ("TLS_FAILED",)),
    40: ("handshake_failure", "nothing in common to agree on, or a client certificate is missing", ("TLS_VERSION", "TLS_REFUSED")),
    41: ("no_certificate", "a certificate is missing, of SSL 3", ("TLS_REFUSED",)),
    42: ("bad_certificate", "a certificate is damaged or its signature does not match", ("TLS_REFUSED",)),
    43: ("unsupported_certificate", "a certificate of a kind that the receiver lacks", ("TLS_REFUSED",)),
    44: ("certificate_revoked", "a certificate was revoked", ("TLS_REFUSED",)),
    45: ("certificate_expired", "a certificate has expired, or the receiver's clock is wrong", ("TLS_REFUSED",)),
    46: ("certificate_unknown", "a certificate was not accepted for another reason", ("TLS_REFUSED",)),
    47: ("illegal_parameter", "a field contradicts the others", ("TLS_VERSION",)),
    48: ("unknown_ca", "the CA of the certificate is not trusted", ("TLS_REFUSED",)),
    49: ("access_denied", "the certificate is valid, but may not come in", ("TLS_REFUSED",)),
    50: ("decode_error", "a message cannot be read", ("TLS_FAILED",)),
    51: ("decrypt_error", "a signature or the Finished message does not match", ("TLS_REFUSED", "TLS_PSK")),
    60: ("export_restriction", "of old versions", ("TLS_VERSION",)),
    70: ("protocol_version", "no TLS version in common", ("TLS_VERSION",)),
    71: ("insufficient_security", "the server wants stronger cipher suites", ("TLS_VERSION",)),
    80: ("internal_error", "the sender has a fault of its own", ("TLS_FAILED",)),
    86: ("inappropriate_fallback", "the client came with a lower version than it can", ("TLS_VERSION",)),
    90: ("user_canceled", "the sender gave up", ("TLS_CLOSED",)),
    100: ("no_renegotiation", "a new handshake was refused", ("TLS_FAILED",)),
    109: ("missing_extension", "the client left out an extension that TLS 1.3 needs", ("TLS_VERSION",)),
    110: ("unsupported_extension", "an extension came that was not offered", ("TLS_VERSION",)),
    111: ("certificate_unobtainable", "a certificate could not be fetched", ("TLS_REFUSED",)),
    112: ("unrecognized_name", "the server does not know this host name (SNI)", ("CERT_NAME",)),
    113: ("bad_certificate_status_response", "an OCSP answer was not accepted", ("TLS_REFUSED",)),
    114: ("bad_certificate_hash_value", "a certificate by hash does not match", ("TLS_REFUSED",)),
    115: ("unknown_psk_identity", "the identity of the pre-shared key is not known", ("TLS_PSK",)),
    116: ("certificate_required", "the server wants a client certificate", ("TLS_REFUSED",)),
    120: ("no_application_protocol", "no ALPN protocol in common", ("TLS_VERSION",)),
}  # fmt: skip

ALERT_NOTE = "MicroPython does not say which alert came; the server's log does."
