"""signature: one right one, and everything near it refused. The key and the signature were made by OpenSSL."""

import binascii
import hashlib

from rootlet import signature

N = binascii.unhexlify(
    "b467dfaf2648b559c801831a733fda03a5085931e66bcb0058d830acd5f2de10e26d9b1d1928e5eebc7ebf4473a10fd8c443397f1eafde3f"
    "cecd63c5d55c94cc03e9c2764808261976abaa22d1ae616ebacd3ffc1a03d1660dd3100cf94fcd4c909d21d92f61d29dc80a4daade934d38"
    "2a059c4c73813a88654debcf0ec156edb733691b3c46f2e6f3ddf9e6411b89d3bc0448a90deed968dfb7047d132bc1484199052a913d5e67"
    "ecee9a9873b400fb1a7f2970aba2b3da8b6d149fec7a931975d409c8e168996483981f2b97e124cd1e3ee2bd1fc2c7ec4c029d475b8afe37"
    "113043525be237d176bcfec87580314590110f97d94ea37d08b9d967ae85e2bdf055e4b2063dfd19a0d2496f259e03e736e7a63faeb310c7"
    "7748d2b42edc58ea02188b0ce4e1115180eef99ea35f39d9236ae1f9c6d8f7860167772c72efac5e783984062a6e8d9c5301a8c4c711f612"
    "7000b1af526bc943411b814972ff6bf044c8fe833a7597575dd7d04dc1430b3cf97f3e8211a66c117e8ce10fa95d983f"
)
TEXT = b"Rootlet update"
GOOD = binascii.unhexlify(
    "9c41c697eeb827ce80b43d487e6958944c5777b0129085499f9b2c6b27d1b3444137dee043d74e85ff40139d5622c5d00b7c1bef8b974af3"
    "13c945a99a7605af788b62fcb72ee44bbf0df654f5f4fe719105c04f1f0c4bff7c49d3f48081e18c52d313377cdd8c319d19b9953cf8fe41"
    "ab7bc67bb7b326aed8730dae4224c69c570483f68f1d6769146d25555b042876ecfdf704f753544813a8b766f466e0de0143906f328f609f"
    "a3ea9ee6e1063658c54fedc9e81627a7ea957e4f7616e370f552d8fac303eab3a67000f8ff63fb02c0e098c940e92f1d39530b70c99618d6"
    "f72eefc23dcab6a41713e3ea8b4645a83bac31109272198c8d69dfdbfdb1214f0302cf2c6322e8c39e651bf29da7cb661e410ee73984085a"
    "0d05107f1f2cd936d88958d9e4aa059c65b0e28cd37641498ca1c2e4033fd3f67c77658b34caae4d414d8224ba0b3eb976447a18fbd35f99"
    "df080a6b84954141c6e502dfc1115fa2ebc02fe1a8e57157579f8089f2c5580ae4be091615346e4b5c9133070ec3c096"
)
DIGEST = hashlib.sha256(TEXT).digest()


def number(data):
    return int.from_bytes(data, "big")


def test_a_right_signature():
    assert signature.verify(N, DIGEST, GOOD)


def test_another_message():
    assert not signature.verify(N, hashlib.sha256(TEXT + b" ").digest(), GOOD)
    assert not signature.verify(N, TEXT, GOOD)
    assert not signature.verify(N, b"", GOOD)


def test_a_changed_signature():
    for at in range(0, 384, 37):
        bad = bytearray(GOOD)
        bad[at] ^= 1
        assert not signature.verify(N, DIGEST, bytes(bad))


def test_of_another_length():
    for bad in (b"", GOOD[:-1], GOOD + b"\0", b"\0" + GOOD, GOOD[1:], GOOD * 2):
        assert not signature.verify(N, DIGEST, bad)


def test_not_below_the_modulus():
    for value in (number(N), number(N) + 1, (1 << 3072) - 1):
        assert not signature.verify(N, DIGEST, value.to_bytes(384, "big"))
    # The same residue: it would verify, were it not refused for its size.
    more = number(GOOD) + number(N)
    if more < 1 << 3072:
        assert not signature.verify(N, DIGEST, more.to_bytes(384, "big"))


def test_trivial_values():
    for value in (0, 1, 2, number(N) - 1):
        assert not signature.verify(N, DIGEST, value.to_bytes(384, "big"))


def test_a_modulus_that_is_none():
    for bad in (b"", bytes(384), N[:-1], N + b"\0", b"\x7f" + N[1:], bytes(383) + b"\1"):
        assert not signature.verify(bad, DIGEST, GOOD)
