"""Certificates may be any bytes: the reader raises Malformed or nothing, the judge never raises, both stay bounded.

ROOTLET_FUZZ_INPUTS says how many inputs (`make fuzz` sets it). The changes come from a fixed seed, the keys and
signatures do not: an input that fails is shown in hex.
"""

import json
import os
import random
import subprocess
import time
import tracemalloc
from functools import cache

from cryptography import x509 as made_by

from rootlet import x509
from rootlet.catalogue import CATALOGUE
from rootlet.judge import Judge
from rootlet.trust import Trust
from tests import forge, samples
from tests.device_runner import command, compiled

INPUTS = int(os.environ.get("ROOTLET_FUZZ_INPUTS", "20000"))
NOW = 1795239001
HOST = "host.example"
LONGEST_S = 1.0  # for one input, in CPU seconds; a usual one takes 0.0001


@cache
def seeds() -> list[bytes]:
    """Certificates of many shapes, sound ones too."""
    names: list[made_by.GeneralName] = [made_by.DNSName(HOST), made_by.DNSName("*.example")]
    leaf = forge.Spec("leaf", usage=forge.usage("digital_signature"), eku=[forge.SERVER], san=names)
    root = forge.Spec("root", number=1, ca=True, path_len=1, usage=forge.usage("key_cert_sign"))
    strange = forge.Spec("x" * 64, san=names * 90, extra=[(f"1.2.3.{i}", b"\x05\x00", False) for i in range(30)])
    return [*samples.certificates(), *(forge.issue(spec, root) for spec in (leaf, root, strange))]


def elements(der: bytes) -> list[tuple[int, int, int]]:
    """(start, start of the value, end) of each element of a certificate, outer ones before those inside them."""
    found, todo = [], [(0, len(der))]
    while todo:
        pos, end = todo.pop()
        while pos < end:
            try:
                tag, start, stop = x509.tlv(der, pos, end)
            except x509.Malformed:
                break
            found.append((pos, start, stop))
            if tag & 0x20 or tag == 0x04:
                todo.append((start, stop))
            pos = stop
    return found


def replaced(der: bytes, start: int, end: int, new: bytes) -> bytes:
    """The same with other bytes in place of some, the lengths of all that is round them made to fit."""
    for pos, value, stop in reversed(elements(der)):
        if value <= start and end <= stop:
            new = forge.tlv(der[pos], der[value:start] + new + der[end:stop])
            start, end = pos, stop
    return der[:start] + new + der[end:]


def change(dice: random.Random, der: bytes) -> bytes:
    """One change: to bytes as they lie, or to elements so that what is round them still parses."""
    places = elements(der)
    kind = dice.randrange(10)
    at = dice.randrange(len(der) + 1)
    if kind == 0 or not places:
        return der[:at] + bytes([dice.randrange(256)]) + der[at + 1 :]
    if kind == 1:
        return der[:at] + dice.choice((b"", dice.randbytes(dice.randrange(1, 9)) + der[at:]))
    start, value, end = dice.choice(places)
    if kind == 2:  # its tag or its length
        at = start + dice.randrange(2)
        return der[:at] + bytes([dice.choice((0, 1, 2, 3, 0x30, 0x7F, 0x80, 0x81, 0x82, 0x84, 0xFF))]) + der[at + 1 :]
    if kind == 3:  # gone
        return replaced(der, start, end, b"")
    if kind == 4:  # repeated
        return replaced(der, end, end, der[start:end] * dice.choice((1, 1, 50)))
    if kind == 5:  # in place of it, one of another certificate
        other = dice.choice(seeds())
        where = dice.choice(elements(other))
        return replaced(der, start, end, other[where[0] : where[2]])
    if kind == 6:  # another value of another size
        return replaced(der, value, end, dice.randbytes(dice.randrange(9)))
    if value == end:
        return der
    at = dice.randrange(value, end)  # a byte of its value
    return der[:at] + bytes([der[at] ^ dice.choice((1, 2, 4, 0x80, 0xFF))]) + der[at + 1 :]


def inputs(count: int, seed: int = 5280):
    dice = random.Random(seed)
    for i in range(count):
        der = dice.choice(seeds())
        if i % 50 == 0:
            yield dice.randbytes(dice.randrange(400))
            continue
        for _ in range(dice.choice((1, 1, 1, 2, 3))):
            der = change(dice, der) or b"\x30"
        yield der


def verdict(der, depth: int) -> tuple[str, str] | None:
    """The judge's (code, fact), or None where it takes the certificate."""
    judge = Judge(HOST, Trust([seeds()[-2]], lambda: NOW, pins=(bytes(32),) if depth else ()), NOW)
    refused = judge(der, depth)
    assert bool(refused) == (judge.fault is not None)
    assert judge.leaf_seen == (not refused and depth == 0)
    return (judge.fault.code, judge.fault.fact) if refused else None


def test_judging_any_certificate_raises_nothing_and_takes_no_time():
    tally: dict[str, int] = {}
    for i, der in enumerate(inputs(INPUTS)):
        began = time.thread_time()
        try:
            found = verdict(memoryview(der), i % 3)
        except Exception as e:
            raise AssertionError(f"{type(e).__name__}: {e} for {der.hex()}") from e
        assert time.thread_time() - began < LONGEST_S, der.hex()
        code = found[0] if found else "taken"
        assert found is None or (code.startswith("CERT_") and code in CATALOGUE), (found, der.hex())
        tally[code] = tally.get(code, 0) + 1
    # Most inputs are garbage, but many must get past the reader, or nothing behind it is tested.
    assert tally["CERT_MALFORMED"] < 0.8 * INPUTS, tally
    assert len(tally) >= 8, tally


def heaviest() -> list[bytes]:
    """What costs most in as many bytes as a TLS record holds."""
    wide = x509_with(b"".join(forge.tlv(0x82, b"a" * 60) for _ in range(200)))
    many = x509_with(b"".join(forge.tlv(0x86, b"") for _ in range(6000)))
    one = x509_with(forge.tlv(0x82, b"a" * 14000))
    attribute = forge.tlv(0x31, forge.tlv(0x30, forge.oid("2.5.4.3"), forge.tlv(0x0C, b"")))
    der = seeds()[-3]
    cert = x509.parse(der)
    at = der.rindex(cert.subject)
    return [wide, many, one, replaced(der, at, at + len(cert.subject), forge.tlv(0x30, attribute * 1200))]


def x509_with(names: bytes) -> bytes:
    spec = forge.Spec("heavy", extra=[("2.5.29.17", forge.tlv(0x30, names), False)])
    return forge.issue(spec, spec)


def test_memory_is_bounded_by_the_size_of_the_certificate():
    seeds()
    for der in heaviest():
        assert len(der) < 17000
        x509.parse(der)
        for depth in (0, 1):
            tracemalloc.start()
            began = time.thread_time()
            verdict(memoryview(der), depth)
            took = time.thread_time() - began
            peak = tracemalloc.get_traced_memory()[1]
            tracemalloc.stop()
            assert took < LONGEST_S
            assert peak < 20 * len(der), (peak, len(der))


SCRIPT = """
import gc, json, sys
sys.path.insert(0, sys.argv[1])
from rootlet.judge import Judge
from rootlet.trust import Trust
buffer = bytearray(17000)  # as Mbed TLS has one
inputs = open(sys.argv[2], "rb")
def read():
    view = memoryview(buffer)[: int.from_bytes(inputs.read(4), "big")]
    inputs.readinto(view)
    return view
root = bytes(read())
for i in range(int(sys.argv[3])):
    der = read()
    gc.collect()  # as before each handshake
    depth = i % 3
    judge = Judge("host.example", Trust([root], None, pins=(bytes(32),) if depth else ()), 1795239001)
    refused = judge(der, depth)
    print(json.dumps([judge.fault.code, judge.fault.fact] if refused else None))
"""


def test_micropython_judges_the_same(tmp_path):
    """The same verdict and words for each input, within a board's heap."""
    chosen = [*heaviest(), *(der for der in inputs(3000, 9525) if len(der) < 17000)]
    (tmp_path / "script.py").write_text(SCRIPT)
    (tmp_path / "inputs").write_bytes(b"".join(len(der).to_bytes(4, "big") + der for der in (seeds()[-2], *chosen)))
    done = subprocess.run(
        [*command("micropython"), "script.py", str(compiled()), "inputs", str(len(chosen))],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert done.returncode == 0, (done.stdout + done.stderr)[-2000:]
    found = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(found) == len(chosen)
    for i, (theirs, der) in enumerate(zip(found, chosen, strict=True)):
        ours = verdict(memoryview(der), i % 3)
        assert theirs == (list(ours) if ours else None), der.hex()
