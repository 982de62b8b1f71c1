"""The one error type of the firmware, and the table of its codes: what happened and what to do."""

# code: "what happened|what to do"; one string each, since objects cost memory. The observed fact is added where the
# error is raised.
# fmt: off
CATALOGUE = {
    "CONFIG": "the configuration is wrong|correct config.json and deploy again",
    "WIFI_WRONG_PASSWORD": "the access point refused the password|check wifi.networks[].password",
    "WIFI_NO_AP": "no configured WiFi network is in reach|check the SSID and that the network has a 2.4 GHz band",
    "WIFI_NO_DHCP": "WiFi joined, but no IP address was handed out|check the DHCP server; some networks admit known boards only",
    "WIFI_FAILED": "joining WiFi failed|check wifi.country and the signal; power-cycle the board",
    "CLOCK_NOT_SET": "the clock is not set, so no certificate can be checked|check clock.servers and that UDP 123 is open",
    "DNS": "the host name could not be resolved|check the name and the network's DNS server",
    "TCP_REFUSED": "the connection was refused|check host and port, and that the server runs",
    "TCP_TIMEOUT": "the server did not answer|check host and port, and the firewall",
    "TCP": "the network did not carry the connection|check that this network reaches the server",
    "TLS_MEMORY": "not enough memory for a TLS handshake|free memory or connect earlier; soft-reset clears fragmentation",
    "TLS_NO_ROOTS": "no CA root is on the board|run `rootlet certs embed` and deploy the cert module",
    "TLS_STORE": "the root store on the board is absent or damaged|make it again: `rootlet certs store`, and deploy it",
    "TLS_IDENTITY": "the board's own certificate or key cannot be used|issue it again: `rootlet ca issue device ID`",
    "TLS_PSK": "the pre-shared key does not work|give board and broker the same key: `rootlet psk new ID`, deploy --psk, broker --psk",
    "TLS_NO_PSK": "this MicroPython has no TLS with pre-shared keys|install MicroPython 1.29 or newer, or use certificates",
    "TLS_NOT_TLS": "the port answers, but not with TLS|use the TLS port (8883 for MQTT, 443 for HTTPS)",
    "TLS_VERSION": "the server offers no TLS version or cipher suite this board has|enable TLS 1.2 with ECDHE and AES-GCM there",
    "TLS_REFUSED": "the server ended the handshake after its certificate was accepted|check the board's own certificate (mutual TLS)",
    "TLS_CLOSED": "the server closed the connection during the handshake|check that the port speaks TLS; see the server's log",
    "TLS_TIMEOUT": "the TLS handshake took too long|check that the port speaks TLS; raise the timeout",
    "TLS_FAILED": "the TLS connection failed|look the code up: `rootlet explain CODE`",
    "CERT_EXPIRED": "a certificate of the server has expired|renew it on the server",
    "CERT_NOT_YET_VALID": "a certificate of the server is not valid yet|check the board's clock, and the CA's",
    "CERT_NAME": "the certificate is for another name|connect by a name it has, or issue one with this name",
    "CERT_NO_SAN": "the certificate has no subject alternative name|issue it with a SAN: `rootlet ca issue server NAME`",
    "CERT_IP_IN_DNS": "the certificate holds the IP address as a DNS name|issue it with `rootlet ca issue server NAME --ip ADDRESS`",
    "CERT_SELF_SIGNED": "the server's certificate is signed by itself|use one issued by a CA, and embed that CA",
    "CERT_UNKNOWN_CA": "the server's CA is not among the embedded roots|embed its root: `rootlet certs embed`",
    "CERT_INCOMPLETE": "the server does not send the intermediate certificate|make the server send its full chain",
    "CERT_USAGE": "the certificate may not be used for this|issue it with the right usage: `rootlet ca issue server NAME`",
    "CERT_WEAK_KEY": "a certificate has a key too weak or of a kind not supported|use P-256, P-384 or RSA of 2048 bits or more",
    "CERT_WEAK_SIGNATURE": "a certificate is signed with a broken or unsupported algorithm|use SHA-256 or better",
    "CERT_CHAIN": "the certificate chain is longer than allowed|send a shorter chain, or issue the CA with a larger path length",
    "CERT_EXTENSION": "a certificate has an extension that Rootlet does not know, or cannot honour|use a CA that issues without it",
    "CERT_PIN": "no certificate of the server has a pinned key|if the change was meant, set pins to its key: `rootlet certs pin FILE`",
    "CERT_MALFORMED": "a certificate of the server cannot be read|issue it again",
    "NET_TIMEOUT": "the server stopped answering|check the network and the server",
    "NET_CLOSED": "the server closed the connection|see the server's log",
    "HTTP_URL": "the URL cannot be used|give https://host[:port]/path",
    "HTTP_TIMEOUT": "the response took too long|raise the timeout or check the server",
    "HTTP_TRUNCATED": "the response ended too early|try again; see the server's log",
    "HTTP_RESPONSE": "the response is not valid HTTP/1.1|check what the server sends",
    "HTTP_TOO_LARGE": "the response is larger than allowed|raise max_bytes or ask for less",
    "HTTP_INSECURE_REDIRECT": "the server redirects to an insecure address|use the https address, or fix the redirect",
    "HTTP_REDIRECTS": "too many redirects|check the server's redirects",
    "HTTP_JSON": "the response is not JSON|check the URL",
    "MQTT_REFUSED": "the broker refused the connection|check user, password, client id and the broker's ACL",
    "MQTT_PACKET": "the broker sent an invalid packet|check that the port speaks MQTT 3.1.1",
    "MQTT_TOO_LARGE": "the MQTT packet is larger than allowed|send less per message",
    "MQTT_TIMEOUT": "the broker did not answer in time|check the broker and the network",
    "MQTT_CLOSED": "the broker closed the connection|see the broker's log; is another client using this id?",
    "MQTT_SUBSCRIBE": "the broker refused the subscription|check the broker's ACL",
    "MEMORY": "memory ran out|configure fewer sensors, a shorter queue or a smaller page",
    "SLOT": "a slot of identity and trust files cannot be used|rotate again: `rootlet certs rotate DEVICE`",
    "SENSOR": "a sensor could not be read|check its wiring and pin",
}
# fmt: on


def words(code):
    """(what happened, what to do) of a code."""
    what, _, fix = CATALOGUE[code].partition("|")
    return what, fix


class RootletError(Exception):
    """Anything that goes wrong in the firmware.

    Args:
        code: a key of CATALOGUE.
        fact: what was observed, one line, without secrets.
        fix: what to do, where it can be said better than in CATALOGUE.
    """

    def __init__(self, code, fact="", fix=""):
        super().__init__(code)
        self.code = code
        self.fact = fact
        self.fix = fix or words(code)[1]

    def __str__(self):
        text = self.code + ": " + words(self.code)[0]
        if self.fact:
            text += "; " + self.fact
        return text + "; try: " + self.fix
