"""What the pictures of docs/certificates.md show."""

from .pictures import Arrow, Box, Picture

PICTURES = (
    Picture(
        "chain",
        "A chain of certificates",
        "The root, which lies on the board, has signed an intermediate CA's certificate, which has signed the "
        "server's certificate. The server sends the last two; the board checks each signature up to the root.",
        boxes=(
            Box(20, 20, 290, ("Root: Home CA", "signs others; lies on the board", "key: in a drawer, encrypted")),
            Box(
                20,
                150,
                290,
                ("Intermediate CA", "public CAs have one; yours need not", "key: where it is used"),
            ),
            Box(
                20, 280, 290, ("Leaf: broker.home", "SAN: broker.home, 192.168.1.10", "key: on the broker, only there")
            ),
            Box(400, 20, 260, ("On the board", "trust_roots.py or roots.bin:", "the root, put there by you"), "key"),
            Box(
                400,
                215,
                260,
                ("In the handshake", "the server sends these two,", "leaf first; never the root's key"),
                "key",
            ),
        ),
        arrows=(Arrow(0, 1, "has signed"), Arrow(1, 2, "has signed"), Arrow(3, 0), Arrow(4, 1), Arrow(4, 2)),
    ),
    Picture(
        "certificate",
        "What is in a certificate",
        "A certificate holds a public key, names, a time from and until, what the key may be used for, and the "
        "signature of the issuer over all of it. The private key that belongs to the public key is not in it.",
        boxes=(
            Box(
                20,
                20,
                330,
                (
                    "Certificate: anybody may see it",
                    "names (SAN): broker.home, 192.168.1.10",
                    "public key: P-256",
                    "valid: 2026-11-21 until 2027-02-19",
                    "for: servers (serverAuth), no CA",
                    "issuer: Home CA",
                    "signature of the issuer over all this",
                ),
            ),
            Box(
                430,
                60,
                250,
                ("Private key: a secret", "proves that the owner of the", "certificate is speaking"),
                "key",
            ),
        ),
        arrows=(Arrow(1, 0, "belongs to"),),
    ),
    Picture(
        "handshake",
        "A handshake with mutual TLS",
        "The board says which methods it knows. The broker sends its certificate and signs fresh numbers with its "
        "private key. The board checks chain, name, dates and that signature, then sends its own certificate and "
        "signature, which the broker checks. From then on all is encrypted, and MQTT begins.",
        parties=("board", "broker"),
        messages=(
            (0, 0, "clock good? else no connection"),
            (0, 1, "Client Hello: suites, name wanted"),
            (1, 0, "Server Hello, certificates"),
            (1, 0, "fresh key, signed; asks for a certificate"),
            (0, 0, "chain, name, dates, usage, pins"),
            (0, 1, "its certificate, fresh key, signature"),
            (1, 1, "chain, revoked? which device?"),
            (0, 1, "Finished: from here on encrypted"),
            (1, 0, "Finished"),
            (0, 1, "MQTT CONNECT"),
        ),
    ),
    Picture(
        "clock",
        "Why the clock matters",
        "On a line of time: the build of the firmware is the floor; the certificate is valid from its start to its "
        "end; a clock before the floor is refused, a clock after the end makes the certificate look expired.",
        boxes=(
            Box(20, 40, 150, ("1970 to 2021", "after power-up", "no connection"), "bad"),
            Box(200, 40, 150, ("floor", "build, or newest", "start of a chain"), "key"),
            Box(380, 40, 170, ("certificate valid", "clock set by SNTP", "connection")),
            Box(580, 40, 150, ("after its end", "CERT_EXPIRED", "no connection"), "bad"),
        ),
        arrows=(Arrow(0, 1), Arrow(1, 2), Arrow(2, 3)),
    ),
    Picture(
        "rotation",
        "Renewal with two slots",
        "The new key and certificate are copied into the slot that is not in use and tried there. Only when the "
        "board has connected with them does the marker change. If the trial fails, the former slot stays in use.",
        boxes=(
            Box(20, 20, 200, ("Slot a: in use", "certificate until March", "the board connects with it")),
            Box(20, 170, 200, ("Slot b: being filled", "new key, new certificate", "does not count yet"), "key"),
            Box(320, 170, 200, ("Trial", "connects to the broker", "with slot b, once"), "key"),
            Box(610, 20, 200, ("Trial failed", "slot a stays in use,", "slot b is emptied"), "bad"),
            Box(610, 170, 200, ("Switch", "the file slot says b;", "a stays as a refuge")),
        ),
        arrows=(Arrow(1, 2, "sealed"), Arrow(2, 4, "connected"), Arrow(2, 3, "not connected"), Arrow(3, 0)),
    ),
    Picture(
        "revocation",
        "A board is lost",
        "The owner revokes the certificate of the lost board. The CA signs a list, the broker reads it at its start"
        " and refuses that certificate. Boards themselves check no list, so a lost server key is answered by a new "
        "certificate, short lives and pins.",
        parties=("you", "broker", "lost board"),
        messages=(
            (0, 0, "rootlet ca revoke pico-7"),
            (0, 1, "the list ca.crl.pem, signed by the CA"),
            (1, 1, "started again: reads the list"),
            (2, 1, "connects with the old certificate"),
            (1, 2, "refused"),
        ),
    ),
)
