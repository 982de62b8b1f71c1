"""aes_ccm: the vectors of RFC 3610 and of NIST SP 800-38C, and whatever was changed on the way."""

from binascii import unhexlify

from rootlet import aes_ccm
from rootlet.errors import RootletError

# key, nonce, aad, plaintext, ciphertext, tag
VECTORS = (
    # RFC 3610 section 8, packet vectors 1, 2, 3, 4, 7 and 13
    "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf 00000003020100a0a1a2a3a4a5 0001020304050607"
    " 08090a0b0c0d0e0f101112131415161718191a1b1c1d1e"
    " 588c979a61c663d2f066d0c2c0f989806d5f6b61dac384 17e8d12cfdf926e0",
    "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf 00000004030201a0a1a2a3a4a5 0001020304050607"
    " 08090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
    " 72c91a36e135f8cf291ca894085c87e3cc15c439c9e43a3b a091d56e10400916",
    "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf 00000005040302a0a1a2a3a4a5 0001020304050607"
    " 08090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f20"
    " 51b1e5f44a197d1da46b0f8e2d282ae871e838bb64da859657 4adaa76fbd9fb0c5",
    "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf 00000006050403a0a1a2a3a4a5 000102030405060708090a0b"
    " 0c0d0e0f101112131415161718191a1b1c1d1e a28c6865939a9a79faaa5c4c2a9d4a91cdac8c 96c861b9c9e61ef1",
    "c0c1c2c3c4c5c6c7c8c9cacbcccdcecf 00000009080706a0a1a2a3a4a5 0001020304050607"
    " 08090a0b0c0d0e0f101112131415161718191a1b1c1d1e"
    " 0135d1b2c95f41d5d1d4fec185d166b8094e999dfed96c 048c56602c97acbb7490",
    "d7828d13b2b0bdc325a76236df93cc6b 00412b4ea9cdbe3c9696766cfa 0be1a88bace018b1"
    " 08e8cf97d820ea258460e96ad9cf5289054d895ceac47c"
    " 4cb97f86a2a4689a877947ab8091ef5386a6ffbdd080f8 e78cf7cb0cddd7b3",
    # NIST SP 800-38C appendix C, examples 1, 2 and 3
    "404142434445464748494a4b4c4d4e4f 10111213141516 0001020304050607 20212223 7162015b 4dac255d",
    "404142434445464748494a4b4c4d4e4f 1011121314151617 000102030405060708090a0b0c0d0e0f"
    " 202122232425262728292a2b2c2d2e2f d2a1f0e051ea5f62081a7792073d593d 1fc64fbfaccd",
    "404142434445464748494a4b4c4d4e4f 101112131415161718191a1b 000102030405060708090a0b0c0d0e0f10111213"
    " 202122232425262728292a2b2c2d2e2f3031323334353637"
    " e3b201a9f5b71a7a9b1ceaeccd97e70b6176aad9a4428aa5 484392fbc1b09951",
)


def vectors():
    for text in VECTORS:
        yield [unhexlify(part) for part in text.split(" ")]


def test_published_vectors():
    for key, nonce, aad, plain, sealed, tag in vectors():
        assert aes_ccm.decrypt(key, nonce, sealed, tag, aad) == plain
        assert aes_ccm.decrypt(key, nonce, memoryview(sealed), memoryview(tag), memoryview(aad)) == plain


def test_every_changed_bit_is_noticed():
    key, nonce, aad, _, sealed, tag = next(vectors())
    for name, part in (("nonce", nonce), ("aad", aad), ("sealed", sealed), ("tag", tag)):
        for bit in range(8 * len(part)):
            changed = bytearray(part)
            changed[bit // 8] ^= 1 << bit % 8
            given = {"nonce": nonce, "aad": aad, "sealed": sealed, "tag": tag}
            given[name] = bytes(changed)
            assert aes_ccm.decrypt(key, given["nonce"], given["sealed"], given["tag"], given["aad"]) is None, (
                name,
                bit,
            )


def test_sizes_that_are_not_those_of_ccm():
    key = bytes(16)
    for nonce, tag in ((bytes(6), bytes(4)), (bytes(14), bytes(4)), (bytes(13), b""), (bytes(13), bytes(3))):
        assert aes_ccm.decrypt(key, nonce, b"x", tag) is None
    assert aes_ccm.decrypt(key, bytes(13), b"", bytes(18)) is None
    assert aes_ccm.decrypt(key, bytes(13), bytes(65536), bytes(4)) is None, "the length has two bytes"


def code(*given):
    try:
        aes_ccm.opened(*given)
    except RootletError as e:
        return e.code + " " + e.fact
    return None


def test_opened_says_what_is_wrong():
    key, nonce, aad, plain, sealed, tag = next(vectors())
    assert aes_ccm.opened(True, key, nonce, sealed, tag, aad) == plain
    assert code(True, None, nonce, sealed, tag, aad) == "BLE_KEY encrypted: a bindkey is needed"
    assert code(True, bytes(16), nonce, sealed, tag, aad) == "BLE_KEY the bindkey does not fit"
    assert code(False, key, nonce, sealed, tag, aad) == "BLE_KEY not encrypted, though a bindkey is set"
