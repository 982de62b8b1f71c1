"""Every hostile server is refused with a code of its own, by the same firmware on CPython and on MicroPython."""

import contextlib
import re
import ssl
import subprocess
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.x509.oid import ExtendedKeyUsageOID

from host_tools import pins
from tests.device_runner import INTERPRETERS, run_job
from tests.forge import usage
from tests.integration import hostile
from tests.integration.chains import DAY, NOW, certificate, rsa_key, sha1_certificate, write

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"
TIMEOUT_MS = 1500
UNKNOWN = x509.ObjectIdentifier("1.3.6.1.4.1.99999.1")
SIGNS = (usage("digital_signature", "key_cert_sign"), True)
CLIENTS = x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CLIENT_AUTH])
# Where the two differ in words or code, and why; everything else must be the same to the letter.
DIFFERENT = {
    "leaf as CA": "Mbed TLS takes no issuer that is not a CA, and so never shows it; OpenSSL shows what was sent",
    "path length": "Mbed TLS takes no issuer whose path length is exceeded; OpenSSL shows it",
    "path length of the root": "the same, for the root",
    "unknown critical extension": "Mbed TLS stops reading at it, with a number",
    "signed with Ed25519": "Mbed TLS cannot read such a key, and says so by a number",
    "TLS 1.1 only": "OpenSSL notices the version itself, Mbed TLS leaves it to the server's alert",
}
# Whether the alert or the end of the connection is seen first; how much has dripped in.
RACES = ("wants a client certificate", "drips the body")
ONLY = x509.NameConstraints([x509.DNSName("localhost")], None)


@pytest.fixture(scope="module")
def root():
    return certificate("Test Root", ca=True)


def chains(root, folder):
    """name: (expected code, what the fact must name, host asked for, chain)."""
    other = certificate("Other Root", ca=True, organisation="Strangers")
    twin = certificate("Test Root", ca=True)
    middle = certificate("Middle", root, ca=True)
    short = certificate("Short", root, ca=True, path_len=0)
    deep = certificate("Deep", short, ca=True)
    shallow = certificate("Shallow Root", ca=True, path_len=0)
    (folder / "shallow.der").write_bytes(shallow.der())
    below = certificate("Below", shallow, ca=True)
    edwards = certificate("Edwards", root, ca=True, key=ed25519.Ed25519PrivateKey.generate())
    home = {"dns": ("localhost",), "ips": ("127.0.0.1",)}
    return {
        "good": (None, "", "localhost", [certificate("a", root, **home)]),
        "good, by address": (None, "", "127.0.0.1", [certificate("a", root, **home)]),
        "good, intermediate": (None, "", "localhost", [certificate("a", middle, **home), middle]),
        "good, wildcard": (None, "", "localhost", [certificate("a", root, dns=("*.x.example", "localhost"))]),
        "good, RSA": (None, "", "localhost", [certificate("a", root, key=rsa_key(2048), **home)]),
        "expired": ("CERT_EXPIRED", "the clock says", "localhost", [certificate("a", root, end=NOW - DAY / 2, **home)]),
        "not yet valid": ("CERT_NOT_YET_VALID", "the clock says", "localhost", [certificate("a", root, start=NOW + DAY, **home)]),
        "wrong name": ("CERT_NAME", "it is for x.example", "localhost", [certificate("a", root, dns=("x.example",))]),
        "wrong address": ("CERT_NAME", "it is for 10.0.0.1", "127.0.0.1", [certificate("a", root, ips=("10.0.0.1",))]),
        "self-signed": ("CERT_SELF_SIGNED", "'a'", "localhost", [certificate("a", **home)]),
        "unknown CA": ("CERT_UNKNOWN_CA", "Other Root", "localhost", [certificate("a", other, **home)]),
        "unknown CA, sent along": ("CERT_UNKNOWN_CA", "Other Root", "localhost", [certificate("a", other, **home), other]),
        "CA of the same name": ("CERT_UNKNOWN_CA", "its key differs", "localhost", [certificate("a", twin, **home)]),
        "missing intermediate": ("CERT_INCOMPLETE", "Middle", "localhost", [certificate("a", middle, **home)]),
        "missing intermediate, by AIA": (
            "CERT_INCOMPLETE", "Far", "localhost",
            [certificate("a", certificate("Far", other, ca=True, organisation="Far"), aia=True, **home)],
        ),
        "CN only": ("CERT_NO_SAN", "localhost", "localhost", [certificate("localhost", root)]),
        "IP in dNSName": ("CERT_IP_IN_DNS", "127.0.0.1", "127.0.0.1", [certificate("a", root, dns=("127.0.0.1",))]),
        "clientAuth only": (
            "CERT_USAGE", "serverAuth", "localhost", [certificate("a", root, eku=ExtendedKeyUsageOID.CLIENT_AUTH, **home)],
        ),
        "leaf as CA": (("CERT_USAGE", "CERT_INCOMPLETE"), "leaf", "localhost",
                       [certificate("a", leaf := certificate("leaf", root, **home), **home), leaf]),
        "leaf is a CA": ("CERT_USAGE", "is a CA", "localhost", [certificate("a", root, ca=True, extra=SIGNS, **home)]),
        # Mbed TLS takes no issuer whose path length is exceeded, so it ends the chain below that one.
        "path length": (("CERT_CHAIN", "CERT_UNKNOWN_CA"), "", "localhost", [certificate("a", deep, **home), deep, short]),
        "path length of the root": ("CERT_CHAIN", "path length", "localhost", [certificate("a", below, **home), below]),
        "too long": ("CERT_CHAIN", "9 certificates", "localhost", long_chain(root, home)),
        "unknown critical extension": (
            "CERT_EXTENSION", "", "localhost",
            [certificate("a", root, extra=(x509.UnrecognizedExtension(UNKNOWN, b"\x05\0"), True), **home)],
        ),
        "name constraints": (
            "CERT_EXTENSION", "name constraints", "localhost",
            [certificate("a", named := certificate("Named", root, ca=True, extra=(ONLY, False)), **home), named],
        ),
        "good, six intermediates": (None, "", "localhost", long_chain(root, home, 6)),
        "RSA 1024": ("CERT_WEAK_KEY", "RSA 1024", "localhost", [certificate("a", root, key=rsa_key(1024), **home)]),
        # Mbed TLS cannot read either: it gives up before our own rules are asked.
        "signed with Ed25519": (
            ("CERT_WEAK_KEY", "CERT_WEAK_SIGNATURE"), "", "localhost", [certificate("a", edwards, **home), edwards],
        ),
        "expired intermediate": (
            "CERT_EXPIRED", "'Old'", "localhost",
            [certificate("a", old := certificate("Old", root, ca=True, end=NOW - DAY / 2), **home), old],
        ),
        "intermediate for clients": (
            "CERT_USAGE", "no CA for servers", "localhost",
            [certificate("a", mail := certificate("Mail", root, ca=True, extra=(CLIENTS, False)), **home), mail],
        ),
        "wildcard for a whole suffix": ("CERT_NAME", "*.localhost", "localhost", [certificate("a", root, dns=("*.localhost",))]),
        "wildcard inside a label": ("CERT_NAME", "l*t", "localhost", [certificate("a", root, dns=("l*t",))]),
        "bare wildcard": ("CERT_NAME", "it is for *", "localhost", [certificate("a", root, dns=("*",))]),
        "name with a trap at its end": (
            "CERT_NAME", "localhost?.x.example", "localhost", [certificate("a", root, dns=("localhost\0.x.example",))],
        ),
        "hundreds of names": (
            "CERT_NAME", "n0.example", "localhost", [certificate("a", root, dns=tuple(f"n{i}.example" for i in range(300)))],
        ),
        "intermediate with RSA 1024": (
            "CERT_WEAK_KEY", "RSA 1024", "localhost",
            [certificate("a", weak := certificate("Weak", root, ca=True, key=rsa_key(1024)), **home), weak],
        ),
        "SHA-1": ("CERT_WEAK_SIGNATURE", "SHA1", "localhost", [sha1_certificate(folder, "a", root, "localhost")]),
    }  # fmt: skip


def long_chain(root, home, between=7):
    """Leaf first, with so many CAs between it and the root."""
    chain = [root]
    for i in range(between):
        chain.insert(0, certificate(f"CA {i}", chain[0], ca=True))
    return [certificate("a", chain[0], **home), *chain[:-1]]


@pytest.fixture(scope="module")
def folder(tmp_path_factory, root):
    folder = tmp_path_factory.mktemp("hostile")
    (folder / "root.der").write_bytes(root.der())
    return folder


def ask(interpreter, folder, urls, **extra):
    roots = ["root.der", *(path.name for path in folder.glob("shallow.der"))]
    job = {"roots": roots, "clock": int(time.time()) + 60, "timeout_ms": TIMEOUT_MS}
    steps = [{"do": "get", "url": url, **extra} for url in urls]
    return run_job(interpreter, {**job, "steps": steps}, folder)


def compare(names, here, there):
    """The same code and text on CPython and on MicroPython, but for what DIFFERENT lists."""
    # Not asked in the same second.
    words = [[re.sub(r"the clock says \S+", "", row.get("text") or "") for row in rows] for rows in (here, there)]
    pairs = {name: (a, b) for name, a, b in zip(names, *words, strict=True)}
    assert {name: pair for name, pair in pairs.items() if pair[0] != pair[1] and name not in (*DIFFERENT, *RACES)} == {}
    stale = [name for name, pair in pairs.items() if pair[0] == pair[1] and name in DIFFERENT]
    assert not stale


def test_certificates(folder, root):
    cases = chains(root, folder)
    with contextlib.ExitStack() as stack:
        urls = []
        for name, (_, _, host, chain) in cases.items():
            context = hostile.tls_context(*write(folder, name.replace(" ", "_"), *chain))
            port = stack.enter_context(hostile.serve(hostile.over_tls(context, hostile.replies(OK))))
            urls.append(f"https://{host}:{port}/")
        here, there = [ask(interpreter, folder, urls) for interpreter in INTERPRETERS]
    assert len([code for code, *_ in cases.values() if code]) >= 30
    wrong = []
    for (name, (code, fact, _, _)), result in zip([*cases.items()] * 2, here + there, strict=True):
        if code is None:
            if result.get("body") != "hello":
                wrong.append((name, result))
        elif (
            result.get("code") not in (code if isinstance(code, tuple) else (code,))
            or fact not in result["fact"]
            or "try: " not in result["text"]
        ):
            wrong.append((name, code, fact, result))
    assert not wrong, "\n".join(map(str, wrong))
    compare(cases, here, there)


def answers(root, folder, other_port):
    """name: (expected code, the server's handler)."""
    chain = write(folder, "good_server", certificate("a", root, dns=("localhost",)))
    context = hostile.tls_context(*chain)
    asks = hostile.tls_context(*chain)
    asks.verify_mode = ssl.CERT_REQUIRED
    asks.load_verify_locations(cadata=root.pem().decode())

    def says(data, then="close"):
        return hostile.over_tls(context, hostile.replies(data, then))

    head = b"HTTP/1.1 200 OK\r\n"
    moved = b"HTTP/1.1 302 Found\r\nLocation: %s\r\nContent-Length: 0\r\n\r\n"
    return {
        "plain text": ("TLS_NOT_TLS", hostile.plain_text),
        "closes mid-handshake": ("TLS_CLOSED", hostile.closes_mid_handshake),
        "stalls mid-handshake": ("TLS_TIMEOUT", hostile.stalls_mid_handshake),
        "drips": ("TLS_TIMEOUT", hostile.drips),
        "TLS 1.1 only": (
            "TLS_VERSION",
            hostile.over_tls(hostile.tls_context(*chain, ssl.TLSVersion.TLSv1_1), hostile.replies(OK)),
        ),
        "TLS 1.3 only": (
            "TLS_VERSION",
            hostile.over_tls(hostile.tls_context(*chain, ssl.TLSVersion.TLSv1_3), hostile.replies(OK)),
        ),
        "sends an alert of its own": ("TLS_VERSION", hostile.alert),
        "sends half a certificate": ("TLS_CLOSED", hostile.half_a_flight(chain)),
        "wants a client certificate": ("TLS_REFUSED", hostile.over_tls(asks, hostile.replies(OK))),
        "stalls before the head": ("HTTP_TIMEOUT", says(b"", "stall")),
        "stalls mid-body": ("HTTP_TIMEOUT", says(head + b"Content-Length: 5\r\n\r\nhel", "stall")),
        "drips the body": ("HTTP_TIMEOUT", says(head + b"Content-Length: 900\r\n\r\n", "drip")),
        "drips the head": ("HTTP_TIMEOUT", says(head + b"X: ", "drip")),
        "ends mid-body": ("HTTP_TRUNCATED", says(head + b"Content-Length: 5\r\n\r\nhel")),
        "cut mid-chunk": ("HTTP_TRUNCATED", says(head + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhel", "cut")),
        "ends without a size": (None, says(head + b"\r\nhello")),
        "cut without a size": ("HTTP_TRUNCATED", says(head + b"\r\nhel", "cut")),
        "no HTTP": ("HTTP_RESPONSE", says(b"220 mail.example ESMTP\r\n")),
        "announces too much": ("HTTP_TOO_LARGE", says(head + b"Content-Length: 4000000\r\n\r\n", "stall")),
        "sends too much": (
            "HTTP_TOO_LARGE",
            says(head + b"Transfer-Encoding: chunked\r\n\r\n" + b"400\r\n" + b"x" * 1024),
        ),
        "endless header": ("HTTP_RESPONSE", says(head + b"X: " + b"y" * 100000, "stall")),
        "redirect to http": ("HTTP_INSECURE_REDIRECT", says(moved % b"http://localhost/x")),
        "redirect for ever": ("HTTP_REDIRECTS", says(moved % b"/again")),
        "redirect to a stranger": ("CERT_UNKNOWN_CA", says(moved % b"https://localhost:%d/" % other_port)),
    }


def test_behaviour(folder, root):
    stranger = certificate("Stranger", ca=True, organisation="Strangers")
    context = hostile.tls_context(*write(folder, "stranger", certificate("a", stranger, dns=("localhost",))))
    with contextlib.ExitStack() as stack:
        other_port = stack.enter_context(hostile.serve(hostile.over_tls(context, hostile.replies(OK))))
        cases = answers(root, folder, other_port)
        urls = []
        for _, handler in cases.values():
            urls.append(f"https://localhost:{stack.enter_context(hostile.serve(handler))}/")
        here, there = [ask(interpreter, folder, urls, max_bytes=1000) for interpreter in INTERPRETERS]
    assert len(cases) >= 20
    for results in (here, there):
        got = {name: result.get("code") for name, result in zip(cases, results, strict=True)}
        assert got == {name: code for name, (code, _) in cases.items()}
        late = [name for name, result in zip(cases, results, strict=True) if result["ms"] > TIMEOUT_MS + 1000]
        assert not late, "a deadline was not kept"
    compare(cases, here, there)


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_pins(interpreter, folder, root):
    """The current key or the next one, of any certificate of the chain; otherwise no byte is sent."""
    middle = certificate("Middle", root, ca=True)
    leaf = certificate("a", middle, dns=("localhost",))
    own, above, top, other = (pins.of_der(e.der()) for e in (leaf, middle, root, certificate("Other", ca=True)))
    asked = []

    def handler(conn, ending):
        asked.append(conn)
        hostile.replies(OK)(conn, ending)

    context = hostile.tls_context(*write(folder, "pinned", leaf, middle))
    job = {"roots": ["root.der"], "clock": int(time.time()) + 60, "timeout_ms": TIMEOUT_MS}
    wanted = ([own], [other, above], [top], [other], None)
    with hostile.serve(hostile.over_tls(context, handler)) as port:
        url = f"https://localhost:{port}/"
        steps = [{"do": "get", "url": url, "pins": texts} for texts in wanted]
        results = run_job(interpreter, {**job, "steps": steps}, folder)
    assert [r.get("code") or r["body"] for r in results] == ["hello", "hello", "hello", "CERT_PIN", "hello"]
    assert own in results[3]["fact"]
    assert len(asked) == 4


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_without_a_clock_no_connection_is_made(interpreter, folder):
    touched = []

    def notes(conn, ending):
        touched.append(conn.recv(1))

    with hostile.serve(notes) as port:
        job = {"roots": ["root.der"], "clock": None, "steps": [{"do": "get", "url": f"https://localhost:{port}/"}]}
        (result,) = run_job(interpreter, job, folder)
    assert result["code"] == "CLOCK_NOT_SET"
    assert "no time server answered" in result["fact"]
    assert not touched


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_where_nothing_is(interpreter, folder):
    with hostile.serve(hostile.plain_text) as port:
        pass
    results = ask(
        interpreter, folder, [f"https://localhost:{port}/", "https://no-such-host.invalid/", "http://localhost/"]
    )
    assert [r["code"] for r in results] == ["TCP_REFUSED", "DNS", "HTTP_URL"]


def test_the_device_runner_does_not_hang_on_a_hostile_server(folder):
    began = time.monotonic()
    with hostile.serve(hostile.stalls_mid_handshake) as port:
        (result,) = ask("micropython", folder, [f"https://localhost:{port}/"])
    assert result["code"] == "TLS_TIMEOUT"
    assert time.monotonic() - began < 10


def test_too_little_memory_is_said_to_be_just_that(folder, root):
    """The refusal before the handshake, with the largest free block; on this port Mbed TLS itself is off the heap."""
    needs = {"heap": "gc", "block_bytes": 16717, "out_block_bytes": 4429, "free_bytes": 10_000_000}
    job = {"roots": ["root.der"], "clock": int(NOW.timestamp()), "needs": needs}
    (result,) = run_job("micropython", {**job, "steps": [{"do": "get", "url": "https://localhost:1/"}]}, folder)
    assert result["code"] == "TLS_MEMORY"
    assert "largest free block" in result["fact"]
    block = int(result["fact"].split("largest free block ")[1].split(" ")[0])
    assert 16 < block < 128 * 1024


def test_openssl_agrees_that_the_good_server_is_good(folder, root):
    """The tests' own servers are sound: what is refused is refused for the one thing that is wrong."""
    (folder / "root.pem").write_bytes(root.pem())
    cert, _ = write(folder, "sound", certificate("a", root, dns=("localhost",)))
    done = subprocess.run(
        ["openssl", "verify", "-CAfile", folder / "root.pem", "-verify_hostname", "localhost", cert],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_a_body_that_keeps_coming_is_ended_by_its_deadline(interpreter, folder, root):
    """Little body, much between: there is always something to read, so that nothing ever waits."""

    def pours(tls, ending):
        tls.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        with contextlib.suppress(OSError):
            while not ending.is_set():
                tls.sendall((b"1;" + b"x" * 900 + b"\r\ny\r\n") * 100)

    context = hostile.tls_context(*write(folder, "pours", certificate("a", root, dns=("localhost",))))
    with hostile.serve(hostile.over_tls(context, pours)) as port:
        [result] = ask(interpreter, folder, [f"https://localhost:{port}/"], max_bytes=1 << 18, discard=True)
    assert result.get("code") == "HTTP_TIMEOUT", result
    assert result["ms"] < TIMEOUT_MS + 1000
