"""AES-CCM decryption (RFC 3610, NIST SP 800-38C) on the AES of MicroPython's cryptolib, for messages of BLE sensors.

It keeps no secret from who can measure its time, since it is Python. Tags are compared to the end all the same.
"""

from cryptolib import aes

from .errors import RootletError


def opened(sealed, key, nonce, ciphertext, tag, aad=b""):
    """The plaintext of a sensor's message.

    Args: sealed: whether the message says that it is encrypted. The others: as of decrypt; key may be None.
    Raises RootletError BLE_KEY: no key, a wrong one; or no encryption though there is a key, which anybody can send.
    """
    if not sealed:
        raise RootletError("BLE_KEY", "not encrypted, though a bindkey is set")
    if not key:
        raise RootletError("BLE_KEY", "encrypted: a bindkey is needed")
    plain = decrypt(key, nonce, ciphertext, tag, aad)
    if plain is None:
        raise RootletError("BLE_KEY", "the bindkey does not fit")
    return plain


def decrypt(key, nonce, ciphertext, tag, aad=b""):
    """Check and decrypt a message.

    Args: key: 16 bytes. nonce: 7 to 13 bytes. ciphertext: bytes-like. tag: 4, 6, ... 16 bytes. aad: bytes-like, what is
    authenticated and not encrypted, less than 65280 bytes.
    Returns the plaintext as bytes; None where the tag is wrong, or where a size is none of CCM's.
    """
    size = len(ciphertext)
    width = 15 - len(nonce)  # bytes of the length and of the counter: L of RFC 3610
    if not 2 <= width <= 8 or len(tag) not in (4, 6, 8, 10, 12, 14, 16) or size >> 8 * width or len(aad) >= 0xFF00:
        return None
    cipher = aes(key, 1)  # ECB
    plain = bytearray(size)
    block = bytearray(16)
    count = bytes((width - 1,)) + bytes(nonce)
    for at in range(0, size, 16):  # RFC 3610 2.3: key stream block i + 1 for plaintext block i
        cipher.encrypt(count + (at // 16 + 1).to_bytes(width, "big"), block)
        for i in range(at, min(at + 16, size)):
            plain[i] = ciphertext[i] ^ block[i - at]
    first = (64 if aad else 0) + (len(tag) - 2) * 4 + width - 1
    cipher.encrypt(bytes((first,)) + bytes(nonce) + size.to_bytes(width, "big"), block)
    if aad:
        _absorb(cipher, block, len(aad).to_bytes(2, "big") + bytes(aad))
    _absorb(cipher, block, plain)
    mask = bytearray(16)
    cipher.encrypt(count + bytes(width), mask)
    wrong = 0
    for i in range(len(tag)):
        wrong |= block[i] ^ mask[i] ^ tag[i]
    return None if wrong else bytes(plain)


def _absorb(cipher, block, data):
    """CBC-MAC: take data, padded with zeros, into the block (RFC 3610 2.2)."""
    for at in range(0, len(data), 16):
        for i in range(at, min(at + 16, len(data))):
            block[i - at] ^= data[i]
        cipher.encrypt(block, block)
