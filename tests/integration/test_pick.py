"""The board chooses the root itself: from a store of 117, by a look at what the server sends."""

import contextlib
import json

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from tests import lookalike
from tests.device_runner import INTERPRETERS, run_job, run_script
from tests.integration import hostile
from tests.integration.chains import DAY, NOW, Entity, certificate, write

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"


@pytest.fixture(scope="module")
def pki(tmp_path_factory):
    """(path of the full store, the ten roots that can sign)."""
    everything, signers = lookalike.pki()
    return lookalike.write_store(tmp_path_factory.mktemp("store") / "roots.bin", everything), signers


@contextlib.contextmanager
def serving(folder, name, chain):
    """A server with this chain; yields its URL."""
    files = write(folder, name, *chain)
    with hostile.serve(hostile.over_tls(hostile.tls_context(*files), hostile.replies(OK))) as port:
        yield f"https://localhost:{port}/"


def job(store, steps, **more):
    return {"roots": [], "store": str(store), "clock": int(NOW.timestamp()), "steps": steps, **more}


def get(url):
    return {"do": "get", "url": url}


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_servers_under_ten_roots_of_the_full_store(interpreter, pki, tmp_path):
    store, signers = pki
    assert len(signers) == 10
    with contextlib.ExitStack() as stack:
        urls = []
        for i, root in enumerate(signers):
            chain = lookalike.server_chain(root, root_sent=i % 3 == 2)
            urls.append(stack.enter_context(serving(tmp_path, f"s{i}", chain)))
        # Twice each: by a look at the server, then by what is remembered.
        results = run_job(interpreter, job(store, [get(url) for url in urls * 2]), tmp_path)
    for result in results:
        assert result.get("body") == "hello", result
    kept = json.loads((tmp_path / "picked.json").read_text())
    assert len(kept) == 10
    assert all(len(issuer) == 8 for _, issuer in kept)


@pytest.fixture(scope="module")
def root():
    return certificate("Home Root", ca=True)


def far(name="Far Root"):
    return certificate(name, ca=True, organisation="Far")


def cross_signed(root, by):
    """The certificate of `root`'s name and key, issued by another CA."""
    return Entity(certificate("Home Root", by, ca=True, key=root.key).cert, root.key)


def shapes(root):
    """name: (roots in the store, chain the server sends, expected code or None)."""
    middle = certificate("Middle", root, ca=True)
    leaf = certificate("a", middle, dns=("localhost",))
    elsewhere = far()
    twin = certificate("Home Root", ca=True)  # the same name, another key
    strangers = [certificate("b", elsewhere, dns=("localhost",)), elsewhere]
    return {
        "plain": ([root], [leaf, middle], None),
        "root sent along": ([root], [leaf, middle, root], None),
        "cross-signed by an unknown": ([root], [leaf, middle, cross_signed(root, far())], None),
        "cross-signed by a known": ([root, elsewhere], [leaf, middle, cross_signed(root, elsewhere)], None),
        "only the cross-signer known": ([elsewhere], [leaf, middle, cross_signed(root, elsewhere)], None),
        "wrong order": ([root], [leaf, cross_signed(root, elsewhere), middle], None),
        "extra certificates": ([root], [leaf, elsewhere, middle, twin], None),
        "equal names, two keys": ([twin, root], [leaf, middle], None),
        "equal names, wrong key only": ([twin], [leaf, middle], "CERT_UNKNOWN_CA"),
        "unknown root": ([elsewhere], [leaf, middle], "CERT_UNKNOWN_CA"),
        "unknown root, sent along": ([root], strangers, "CERT_UNKNOWN_CA"),
        "self-signed": ([root], [certificate("localhost", dns=("localhost",))], "CERT_SELF_SIGNED"),
        "expired root": (
            [certificate("Home Root", ca=True, key=root.key, end=NOW - DAY / 2)],
            [leaf, middle],
            "CERT_EXPIRED",
        ),
        "wrong name": ([root], [certificate("a", root, dns=("x.example",))], "CERT_NAME"),
    }


SHAPES = sorted(shapes(certificate("Home Root", ca=True)))


@pytest.mark.parametrize("interpreter", INTERPRETERS)
@pytest.mark.parametrize("shape", SHAPES)
def test_chains_of_every_shape(interpreter, shape, root, tmp_path):
    if interpreter == "cpython" and shape == "equal names, two keys":
        pytest.skip("OpenSSL takes the first CA of a name and does not try the other's key; Mbed TLS does")
    known, chain, code = shapes(root)[shape]
    store = lookalike.write_store(tmp_path / "roots.bin", [entity.cert for entity in known])
    with serving(tmp_path, "s", chain) as url:
        [result] = run_job(interpreter, job(store, [get(url)]), tmp_path)
    assert result.get("code") == code, result
    if code is None:
        assert result["body"] == "hello"
    else:
        assert not (tmp_path / "picked.json").exists()


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_a_server_that_moves_to_another_ca_is_found_again(interpreter, root, tmp_path):
    """One server, two chains one after the other; and a cache that says something wrong, or nonsense."""
    other = far()
    store = lookalike.write_store(tmp_path / "roots.bin", [root.cert, other.cert])
    files = write(tmp_path, "before", certificate("a", root, dns=("localhost",)))
    context = hostile.tls_context(*files)
    with hostile.serve(hostile.over_tls(context, hostile.replies(OK))) as port:
        url = f"https://localhost:{port}/"
        [first] = run_job(interpreter, job(store, [get(url)]), tmp_path)
        before = json.loads((tmp_path / "picked.json").read_text())
        context.load_cert_chain(*write(tmp_path, "after", certificate("a", other, dns=("localhost",))))
        [second] = run_job(interpreter, job(store, [get(url)]), tmp_path)
        after = json.loads((tmp_path / "picked.json").read_text())
        for nonsense in ("", "[]", '{"a": 1}', '[["localhost", "zz"]]', f'[["localhost:{port}", "00000000"]]', "[[1]]"):
            (tmp_path / "picked.json").write_text(nonsense)
            [again] = run_job(interpreter, job(store, [get(url)]), tmp_path)
            assert again.get("body") == "hello", nonsense
    assert first["body"] == second["body"] == "hello"
    assert [row[0] for row in before] == [row[0] for row in after] == [f"localhost:{port}"]
    assert before != after


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_what_fails_with_the_remembered_root_is_looked_at_once_more(interpreter, root, tmp_path):
    """The failure that comes out is the one of the verified handshake, and the memory is kept."""
    store = lookalike.write_store(tmp_path / "roots.bin", [root.cert])
    seen = []

    def counted(conn, ending):
        seen.append(conn)
        hostile.over_tls(context, hostile.replies(OK))(conn, ending)

    context = hostile.tls_context(*write(tmp_path, "good", certificate("a", root, dns=("localhost",))))
    with hostile.serve(counted) as port:
        url = f"https://localhost:{port}/"
        run_job(interpreter, job(store, [get(url)]), tmp_path)
        assert len(seen) == 2  # the look, and the connection
        kept = (tmp_path / "picked.json").read_text()
        run_job(interpreter, job(store, [get(url)]), tmp_path)
        assert len(seen) == 3
        context.load_cert_chain(*write(tmp_path, "bad", certificate("a", root, dns=("x.example",))))
        [result] = run_job(interpreter, job(store, [get(url)]), tmp_path)
        assert len(seen) == 5  # with the remembered root, and one look that gives the same root again
    assert result["code"] == "CERT_NAME"
    assert (tmp_path / "picked.json").read_text() == kept


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_embedded_roots_and_a_store_together(interpreter, root, tmp_path):
    private = far("Private CA")
    store = lookalike.write_store(tmp_path / "roots.bin", [root.cert])
    (tmp_path / "private.der").write_bytes(private.der())
    with (
        serving(tmp_path, "public", [certificate("a", root, dns=("localhost",))]) as public,
        serving(tmp_path, "own", [certificate("a", private, dns=("localhost",))]) as own,
    ):
        todo = job(store, [get(public), get(own), get(own)], roots=["private.der"])
        results = run_job(interpreter, todo, tmp_path)
    assert [result.get("body") for result in results] == ["hello"] * 3, results


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_no_clock_no_look(interpreter, root, tmp_path):
    store = lookalike.write_store(tmp_path / "roots.bin", [root.cert])
    seen = []
    with hostile.serve(lambda conn, ending: seen.append(conn)) as port:
        todo = job(store, [get(f"https://localhost:{port}/")])
        todo["clock"] = None
        [result] = run_job(interpreter, todo, tmp_path)
    assert result["code"] == "CLOCK_NOT_SET"
    assert not seen


def hostile_peeks(folder, root):
    """name: (server, expected code) for servers that misbehave at the first look already."""
    ed = certificate("a", root, dns=("localhost",), key=ec.generate_private_key(ec.SECP256R1()))
    return {
        "plain text": (hostile.plain_text, "TLS_NOT_TLS"),
        "closes": (hostile.closes_mid_handshake, "TLS_CLOSED"),
        "stalls": (hostile.stalls_mid_handshake, "TLS_TIMEOUT"),
        "drips": (hostile.drips, "TLS_TIMEOUT"),
        "good": (
            hostile.over_tls(hostile.tls_context(*write(folder, "good", ed)), hostile.replies(OK)),
            None,
        ),
    }


@pytest.mark.parametrize("interpreter", INTERPRETERS)
def test_servers_that_misbehave_at_the_first_look(interpreter, root, tmp_path):
    store = lookalike.write_store(tmp_path / "roots.bin", [root.cert])
    servers = hostile_peeks(tmp_path, root)
    with contextlib.ExitStack() as stack:
        urls = [f"https://localhost:{stack.enter_context(hostile.serve(server))}/" for server, _ in servers.values()]
        todo = job(store, [get(url) for url in urls], timeout_ms=1000)
        results = run_job(interpreter, todo, tmp_path)
    assert [result.get("code") for result in results] == [code for _, code in servers.values()], results


def test_a_damaged_store_is_named(root, tmp_path):
    store = lookalike.write_store(tmp_path / "roots.bin", [root.cert])
    data = bytearray(store.read_bytes())
    data[-1] ^= 1
    store.write_bytes(data)
    with serving(tmp_path, "s", [certificate("a", root, dns=("localhost",))]) as url:
        [result] = run_job("micropython", job(store, [get(url)]), tmp_path)
    assert result["code"] == "TLS_STORE"
    assert "roots.bin" in result["fact"]
    assert isinstance(root.cert, x509.Certificate)


HEAP = """
import gc, json, sys
sys.path[:0] = sys.argv[1:3]
from rootlet import pick, store, tls, trust
from rootlet.deadline import Deadline
with open(sys.argv[3]) as f:
    job = json.load(f)
with open("root.der", "rb") as f:
    der = f.read()
port, now = job["port"], job["clock"]
addresses = tls.resolve("localhost", port)
many = trust.Trust([], lambda: now, store=store.Store(job["store"]))
one = trust.Trust([der], lambda: now)

def allocated(function, *arguments):
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    result = function(*arguments)
    size = gc.mem_alloc() - before
    gc.enable()
    return size, result

def held(t):
    gc.collect()
    before = gc.mem_alloc()
    stream = tls.connect("localhost", port, b"GET / HTTP/1.1\\r\\n\\r\\n", t)
    gc.collect()
    size = gc.mem_alloc() - before
    stream.close()
    return size

held(one), held(many)
look, peek = allocated(tls._peek, addresses, "localhost", port, many, now, Deadline(9000))
choice, (issuer, roots) = allocated(pick.choose, peek, many)
peek = None
whole, stream = allocated(
    tls._open, addresses, "localhost", port, b"GET / HTTP/1.1\\r\\n\\r\\n", one, one.roots, now, Deadline(9000), 9000)
stream.close()
stream = None
print(json.dumps({"look": look, "choice": choice, "handshake": whole, "held": held(many) - held(one)}))
"""


def test_the_choice_adds_at_most_4_kb_of_heap(pki, tmp_path):
    """On 64-bit MicroPython: all that is allocated, nothing collected meanwhile; and what stays while connected."""
    store, signers = pki
    root = next(s for s in signers if getattr(s.cert.public_key(), "key_size", 0) == 4096)
    (tmp_path / "root.der").write_bytes(root.der())
    script = tmp_path / "heap.py"
    script.write_text(HEAP)
    files = write(tmp_path, "s", *lookalike.server_chain(root))
    with hostile.serve(hostile.over_tls(hostile.tls_context(*files), hostile.replies(OK))) as port:
        todo = {"port": port, "clock": int(NOW.timestamp()), "store": str(store)}
        heap = run_script("micropython", script, todo, tmp_path)
    assert 0 < heap["choice"] <= 4096, heap
    # The look is over before the handshake begins, and takes less: the most that is in use at a time is no more.
    assert heap["look"] < heap["handshake"], heap
    assert heap["held"] <= 4096, heap
