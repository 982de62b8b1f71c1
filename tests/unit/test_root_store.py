"""Root stores: size, equivalence with certifi, selections, and every byte damaged in turn."""

import subprocess
import sys
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from host_tools import root_store, roots
from host_tools.failure import Exit, Failure
from host_tools.paths import FIRMWARE
from rootlet.errors import RootletError
from rootlet.store import HEADER, RECORD, Store, name_hash
from tests import lookalike
from tests.device_runner import command
from tests.integration.chains import NOW, certificate

LIMIT = 48000


def parts(cert):
    spki = cert.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    return cert.subject.public_bytes(), spki, cert.not_valid_after_utc


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A store of all of certifi's roots."""
    return lookalike.write_store(tmp_path_factory.mktemp("full") / "roots.bin", lookalike.real())


def test_all_of_certifi_fits_and_comes_back_the_same(full):
    assert full.stat().st_size <= LIMIT
    store = Store(str(full))
    assert store.count == len(lookalike.real()) == 117
    assert len(store.check()) == 32
    again = [x509.load_der_x509_certificate(bytes(der)) for der in store.roots()]
    assert {parts(cert) for cert in again} == {parts(cert) for cert in lookalike.real()}
    for cert in lookalike.real():
        found = store.find([name_hash(cert.subject.public_bytes())])[1]
        assert [parts(x509.load_der_x509_certificate(bytes(der))) for der in found] == [parts(cert)]


LOOKUP = """
import gc, sys
sys.path.insert(0, sys.argv[1])
from rootlet import store
s = store.Store(sys.argv[2])
names = open(sys.argv[2] + ".names", "rb")
most = 0
while True:
    wanted = names.read(4)
    if not wanted:
        break
    gc.collect()
    gc.disable()
    before = gc.mem_alloc()
    found = s.find([wanted])[1]
    most = max(most, gc.mem_alloc() - before)
    gc.enable()
    print(len(found), found[0].hex())
print("heap", most)
"""


def test_the_same_on_micropython_with_4_kb_of_heap_for_a_lookup(full, tmp_path):
    """All that a lookup allocates, with nothing collected meanwhile, on a 64-bit build."""
    (tmp_path / "lookup.py").write_text(LOOKUP)
    hashes = [name_hash(cert.subject.public_bytes()) for cert in lookalike.real()]
    full.with_suffix(".bin.names").write_bytes(b"".join(hashes))
    done = subprocess.run(
        [*command("micropython"), str(tmp_path / "lookup.py"), str(FIRMWARE), str(full)],
        capture_output=True, text=True, timeout=60, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    *rows, heap = done.stdout.splitlines()
    here = Store(str(full))
    assert rows == [f"1 {bytes(here.find([wanted])[1][0]).hex()}" for wanted in hashes]
    assert 0 < int(heap.split()[1]) <= 4096


def outcome(path, wanted):
    """What a board gets for each name: the certificates, or None where it is told that the store is damaged."""
    out = []
    try:
        store = Store(str(path))
    except RootletError as e:
        assert e.code == "TLS_STORE"
        return [None] * len(wanted)
    for name in wanted:
        try:
            out.append([bytes(der) for der in store.find([name])[1]])
        except RootletError as e:
            assert e.code == "TLS_STORE"
            out.append(None)
    return out


def flip(path, data, at, bit):
    with path.open("r+b") as f:
        f.seek(at)
        f.write(bytes([data[at] ^ bit]))


def test_every_byte_of_a_small_store_flipped(tmp_path):
    """Each byte, in three ways: every root is what it was or the store is said to be damaged; never another root."""
    chosen = [c for c in lookalike.real() if "ISRG" in str(c.subject) or "Amazon" in str(c.subject)][:4]
    assert len(chosen) == 4
    path = lookalike.write_store(tmp_path / "roots.bin", chosen)
    data = path.read_bytes()
    wanted = [name_hash(cert.subject.public_bytes()) for cert in chosen]
    good = outcome(path, wanted)
    harmless = []
    for at in range(len(data)):
        for bit in (0x01, 0x80, 0xFF):
            flip(path, data, at, bit)
            found = outcome(path, wanted)
            assert all(f is None or f == g for f, g in zip(found, good, strict=True)), at
            if None not in found:
                harmless.append(at)
            with pytest.raises(RootletError, match="TLS_STORE"):
                Store(str(path)).check()
            flip(path, data, at, 0)
    # Only the digest of the whole, which a lookup does not read, may change unseen by a lookup.
    assert set(harmless) == set(range(48, HEADER))


def test_every_byte_of_the_full_store_flipped(full, tmp_path):
    """Each byte once; asked for the root whose entry it is in, which must be said to be damaged."""
    path = tmp_path / "roots.bin"
    data = full.read_bytes()
    path.write_bytes(data)
    index = [data[i : i + RECORD] for i in range(HEADER, HEADER + 117 * RECORD, RECORD)]
    entries = sorted((int.from_bytes(row[4:7], "big"), row[:4]) for row in index)
    everyone = [row[:4] for row in index]
    whole = outcome(path, everyone)
    good = dict(zip(everyone, whole, strict=True))
    for start, end, wanted in [
        (0, 48, everyone[:1]),
        (HEADER, HEADER + 117 * RECORD, everyone[:1]),
        *(
            (at, following, [name])
            for (at, name), (following, _) in zip(entries, [*entries[1:], (len(data), b"")], strict=True)
        ),
    ]:
        for at in range(start, end):
            flip(path, data, at, 0x10)
            assert outcome(path, wanted) == [None], at
            flip(path, data, at, 0)
    for at in range(HEADER + 117 * RECORD, entries[0][0]):  # the dictionary
        flip(path, data, at, 0x10)
        found = outcome(path, everyone)
        assert None in found
        assert all(f is None or f == good[n] for f, n in zip(found, everyone, strict=True))
        flip(path, data, at, 0)
    assert path.read_bytes() == data


def test_every_cut_is_damage(tmp_path):
    root = certificate("Root", ca=True)
    path = lookalike.write_store(tmp_path / "roots.bin", [root.cert])
    data = path.read_bytes()
    wanted = [name_hash(root.cert.subject.public_bytes())]
    for size in range(len(data)):
        path.write_bytes(data[:size])
        assert outcome(path, wanted) == [None]


def test_odd_keys_and_names(tmp_path):
    """An exponent of 3, an odd number of bits, a name of two attributes in one RDN, end dates before and after 2050."""
    three = rsa.generate_private_key(3, 2048)
    cert = certificate("Three", ca=True, key=three, end=NOW.replace(year=2070)).cert
    odd = certificate("Odd", ca=True, key=rsa.generate_private_key(65537, 2052)).cert
    store = Store(str(lookalike.write_store(tmp_path / "r.bin", [cert, odd])))
    again = {parts(x509.load_der_x509_certificate(bytes(der))) for der in store.roots()}
    assert again == {parts(cert), parts(odd)}


def test_roots_of_one_name_are_all_kept(tmp_path):
    twins = [certificate("Twin", ca=True).cert for _ in range(3)]
    store = Store(str(lookalike.write_store(tmp_path / "r.bin", [*twins, twins[0]])))
    assert store.count == 3
    assert len(store.find([name_hash(twins[0].subject.public_bytes())])[1]) == 3


def make(out, **more):
    options = {"bundles": [], "names": [], "hosts": [], "deny": [], "max_bytes": None, "build_time": None}
    return root_store.make(out, **{**options, **more})


def subjects(path):
    return [str(x509.load_der_x509_certificate(bytes(der)).subject) for der in Store(str(path)).roots()]


def test_selections(tmp_path):
    out = tmp_path / "r.bin"
    assert "117" in " ".join(make(out))
    make(out, names=["ISRG Root X1"])
    found = subjects(out)
    assert any("ISRG Root X1" in s for s in found)
    assert any("ISRG Root X2" in s for s in found)  # its successor
    assert all("Internet Security" in s for s in found)
    make(out, names=["ISRG Root X1"], max_bytes=700)
    assert ["X1" in s for s in subjects(out)] == [True]
    make(out, deny=["ISRG", "Amazon"])
    assert not [s for s in subjects(out) if "ISRG" in s or "Amazon" in s]
    for wrong in ({"names": ["no such root"]}, {"names": ["ISRG Root X1"], "max_bytes": 300}, {"deny": ["zzz"]}):
        before = out.read_bytes()
        with pytest.raises(Failure) as caught:
            make(out, **wrong)
        assert caught.value.code == Exit.USAGE
        assert out.read_bytes() == before


def test_a_file_of_someone_else_is_not_replaced(tmp_path):
    out = tmp_path / "r.bin"
    out.write_bytes(b"dear diary")
    with pytest.raises(Failure, match="exists already"):
        make(out)
    assert out.read_bytes() == b"dear diary"


def test_the_same_input_gives_the_same_bytes(tmp_path):
    everything = lookalike.anchors(lookalike.real())
    assert roots.build(everything, "v", 1) == roots.build(everything[::-1], "v", 1)


def test_the_command(tmp_path):
    out = tmp_path / "r.bin"
    run = [sys.executable, "-m", "host_tools", "certs", "store"]
    here = Path(__file__).parents[2]
    done = subprocess.run([*run, "-o", str(out)], cwd=here, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "117" in done.stdout
    listed = subprocess.run(
        [*run, "--check", str(out)], cwd=here, capture_output=True, text=True, check=False, timeout=60
    )
    assert "ISRG Root X1" in listed.stdout
    data = bytearray(out.read_bytes())
    data[-1] ^= 1
    out.write_bytes(data)
    bad = subprocess.run([*run, "--check", str(out)], cwd=here, capture_output=True, text=True, check=False, timeout=60)
    assert bad.returncode == Exit.UNVERIFIED
    assert bad.stderr.startswith("error: ")
