"""signature against `cryptography`: the same verdict on right ones, and on forgeries that a careless parser takes."""

import hashlib
from functools import lru_cache

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA1, SHA256, SHA512
from hypothesis import given, settings
from hypothesis import strategies as st

from host_tools import update_keys
from host_tools.failure import Failure
from rootlet.signature import SIZE, verify

INFO = bytes.fromhex("3031300d060960864801650304020105000420")


@lru_cache
def key(bits: int = 3072, exponent: int = 65537) -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(exponent, bits)  # type: ignore[arg-type]


def modulus() -> bytes:
    return update_keys.modulus(key())


def raw(block: bytes) -> bytes:
    """The RSA operation on a block of the forger's own making, by the holder of the key: the worst case."""
    numbers = key().private_numbers()
    value = pow(int.from_bytes(block, "big"), numbers.d, numbers.public_numbers.n)
    return value.to_bytes(SIZE, "big")


def theirs(digest: bytes, signature: bytes) -> bool:
    try:
        key().public_key().verify(signature, digest, padding.PKCS1v15(), Prehashed(SHA256()))
    except InvalidSignature:
        return False
    return True


def padded(tail: bytes) -> bytes:
    return b"\0\1" + b"\xff" * (SIZE - 3 - len(tail)) + b"\0" + tail


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300))
def test_right_ones(text: bytes) -> None:
    line, _, rest = update_keys.sign(key(), text).partition(b"\n")
    from rootlet.manifest import opened

    assert rest == text and opened(line + b"\n" + text, modulus()) == text
    assert verify(modulus(), hashlib.sha256(text).digest(), raw(padded(INFO + hashlib.sha256(text).digest())))


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=32, max_size=32), st.binary(min_size=SIZE, max_size=SIZE))
def test_any_bytes(digest: bytes, signature: bytes) -> None:
    assert not verify(modulus(), digest, signature)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, SIZE - 1), st.integers(1, 255))
def test_a_block_with_one_byte_changed(at: int, by: int) -> None:
    digest = hashlib.sha256(b"x").digest()
    block = bytearray(padded(INFO + digest))
    block[at] ^= by
    if int.from_bytes(block, "big") < int.from_bytes(modulus(), "big"):
        signature = raw(bytes(block))
        assert not verify(modulus(), digest, signature)
        assert not theirs(digest, signature)


def test_forgeries() -> None:
    digest = hashlib.sha256(b"x").digest()
    good = INFO + digest
    garbage = bytes(range(1, 201))
    blocks = {
        "garbage after the digest": (b"\0\1" + b"\xff" * 8 + b"\0" + good + garbage * 2)[:SIZE],
        "little padding": (b"\0\1\0" + good + garbage * 2)[:SIZE],
        "garbage inside the algorithm": padded(
            bytes.fromhex("3081b1") + INFO[2:17] + garbage[:128] + INFO[17:] + digest
        ),
        "no NULL": padded(bytes.fromhex("302f300b0609608648016503040201") + b"\x04\x20" + digest),
        "BER length": padded(b"\x30\x81\x31" + INFO[2:] + digest),
        "no DigestInfo": padded(digest),
        "another algorithm": padded(INFO[:14] + b"\2" + INFO[15:] + digest),
        "type 2": b"\0\2" + padded(good)[2:],
        "type 0": b"\0\0" + b"\0" * (SIZE - 3 - len(good)) + b"\0" + good,
        "a hole in the padding": padded(good)[:100] + b"\0" + padded(good)[101:],
        "digest first": padded(digest + INFO),
        "zeros": bytes(SIZE),
        "one": bytes(SIZE - 1) + b"\1",
    }
    for name, block in blocks.items():
        assert len(block) == SIZE, name
        assert not verify(modulus(), digest, raw(block)), name
    assert verify(modulus(), digest, raw(padded(good)))


def test_a_cube_root_in_place_of_a_signature() -> None:
    """With e = 3 a number whose cube begins rightly would do; the exponent here is not the forger's to choose."""
    digest = hashlib.sha256(b"x").digest()
    wanted = int.from_bytes((b"\0\1" + b"\xff" * 8 + b"\0" + INFO + digest).ljust(SIZE, b"\xff"), "big")
    low, high = 0, 1 << 1024
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if middle**3 <= wanted else (low, middle)
    assert (low**3).to_bytes(SIZE, "big")[:62] == wanted.to_bytes(SIZE, "big")[:62]
    assert not verify(modulus(), digest, low.to_bytes(SIZE, "big"))


def test_other_hashes_keys_and_paddings() -> None:
    digest = hashlib.sha256(b"x").digest()
    for kind in (SHA1(), SHA512()):
        assert not verify(modulus(), digest, key().sign(b"x", padding.PKCS1v15(), kind))
    pss = padding.PSS(padding.MGF1(SHA256()), 32)
    assert not verify(modulus(), digest, key().sign(b"x", pss, SHA256()))
    other = rsa.generate_private_key(65537, 3072)
    assert not verify(modulus(), digest, other.sign(b"x", padding.PKCS1v15(), SHA256()))
    small = key(2048)
    signature = small.sign(b"x", padding.PKCS1v15(), SHA256())
    n = small.public_key().public_numbers().n.to_bytes(256, "big")
    assert not verify(n, digest, signature)
    assert not verify(n.rjust(SIZE, b"\0"), digest, signature.rjust(SIZE, b"\0"))
    cubed = key(3072, 3)
    assert not verify(update_keys.modulus(cubed), digest, cubed.sign(b"x", padding.PKCS1v15(), SHA256()))


def test_keys_on_the_host(tmp_path) -> None:
    private, public = update_keys.new(tmp_path / "ca", passphrase="secret words")
    assert private.stat().st_mode & 0o777 == 0o600 and public.stat().st_size == SIZE
    assert update_keys.is_encrypted(tmp_path / "ca")
    with pytest.raises(Failure, match="cannot be opened"):
        update_keys.load(tmp_path / "ca")
    with pytest.raises(Failure, match="cannot be opened"):
        update_keys.load(tmp_path / "ca", "wrong")
    assert update_keys.modulus(update_keys.load(tmp_path / "ca", "secret words")) == public.read_bytes()
    with pytest.raises(Failure, match="exists already"):
        update_keys.new(tmp_path / "ca")
    before = public.read_bytes()
    update_keys.new(tmp_path / "ca", force=True)
    assert public.read_bytes() != before and (tmp_path / "ca" / "update.pub.bak").read_bytes() == before
    for data in (b"", bytes(SIZE), before[:-1], b"-----BEGIN " + b"PRIVATE KEY-----"):
        public.write_bytes(data)
        with pytest.raises(Failure, match="cannot be used"):
            update_keys.check_public(public)
    with pytest.raises(Failure, match="no update key"):
        update_keys.load(tmp_path)
