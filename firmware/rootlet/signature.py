"""Verifies RSA-3072 signatures, PKCS#1 v1.5 with SHA-256 (RFC 8017, section 8.2.2); no secret is involved."""

SIZE = 384  # bytes of modulus and signature
# DER before a SHA-256 (RFC 8017, section 9.2, note 1).
_DIGEST_INFO = b"010\r\x06\t`\x86H\x01e\x03\x04\x02\x01\x05\x00\x04 "


def verify(modulus, message_sha256, signature):
    """Whether a message with this digest was signed by the holder of the key.

    The whole padded block is made and compared, so that there is nothing to parse, and nothing to fool a parser with.

    Args: modulus: 384 bytes, big-endian; the exponent is 65537. message_sha256: 32 bytes. signature: any bytes.
    """
    if len(modulus) != SIZE or len(signature) != SIZE or len(message_sha256) != 32:
        return False
    n = int.from_bytes(modulus, "big")
    s = int.from_bytes(signature, "big")
    if not n >> (SIZE * 8 - 1) or s >= n:
        return False
    x = s
    for _ in range(16):
        x = x * x % n
    expected = b"\0\1" + b"\xff" * (SIZE - 54) + b"\0" + _DIGEST_INFO + message_sha256
    return (x * s % n).to_bytes(SIZE, "big") == expected
