"""MicroPython's `cryptolib` on CPython, over `cryptography`: AES in ECB mode, encryption only."""

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

ECB = 1


class aes:  # noqa: N801
    def __init__(self, key, mode):
        if mode != ECB or len(key) not in (16, 32):
            raise ValueError("mode" if mode != ECB else "key")
        self._encryptor = Cipher(algorithms.AES(bytes(key)), modes.ECB()).encryptor()  # noqa: S305

    def encrypt(self, data, out=None):
        if len(data) % 16:
            raise ValueError("blksize % 16")
        found = self._encryptor.update(bytes(data))
        if out is None:
            return found
        out[: len(found)] = found
        return out
