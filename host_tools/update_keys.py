"""The key that remote updates are signed with: made on the host, its public part on the boards (docs/updates.md)."""

import base64
from pathlib import Path
from typing import TYPE_CHECKING

from host_tools.failure import Exit, Failure

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

PRIVATE, PUBLIC = "update.key.pem", "update.pub"
BITS = 3072
SIZE = BITS // 8
_EXPONENT = 65537


def new(folder: Path, *, passphrase: str | None = None, force: bool = False) -> tuple[Path, Path]:
    """Make a key. Args: folder: of the project's CA. passphrase: to encrypt it. force: an old key stays as .bak.

    Returns the files of the private key (PKCS#8, PEM, mode 0600) and of the public one (its modulus, 384 bytes).
    """
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        NoEncryption,
        PrivateFormat,
    )

    from host_tools import safe_write

    key = rsa.generate_private_key(_EXPONENT, BITS)
    kind = BestAvailableEncryption(passphrase.encode()) if passphrase else NoEncryption()
    private, public = folder / PRIVATE, folder / PUBLIC
    safe_write.make_directory(folder)
    files = [
        safe_write.File(private, key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, kind), safe_write.PRIVATE),
        safe_write.File(public, modulus(key)),
    ]
    safe_write.write_all(files, force=force)
    return private, public


def modulus(key: "RSAPrivateKey") -> bytes:
    """What a board holds: the modulus, big-endian."""
    return key.public_key().public_numbers().n.to_bytes(SIZE, "big")


def is_encrypted(folder: Path) -> bool:
    """Whether the private key wants a passphrase. Raises Failure where there is none."""
    return b"BEGIN ENCRYPTED" in _read(folder)


def load(folder: Path, passphrase: str | None = None) -> "RSAPrivateKey":
    """The private key. Raises Failure."""
    from cryptography.hazmat.primitives.asymmetric import rsa
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    path = folder / PRIVATE
    data = _read(folder)
    try:
        key = load_pem_private_key(data, passphrase.encode() if passphrase else None)
    except (ValueError, TypeError):
        what = "the passphrase is wrong or missing" if b"ENCRYPTED" in data else f"{path} is damaged"
        raise Failure("the update key cannot be opened", what, "the same command with the right passphrase",
                      Exit.USAGE) from None  # fmt: skip
    if not (
        isinstance(key, rsa.RSAPrivateKey) and key.key_size == BITS and key.public_key().public_numbers().e == _EXPONENT
    ):
        raise Failure("that is no update key", f"{path} is not RSA-{BITS} with exponent {_EXPONENT}",
                      "rootlet ca update-key --force", Exit.USAGE)  # fmt: skip
    return key


def public(folder: Path) -> bytes:
    """The public key beside the private one. Raises Failure where there is none."""
    path = folder / PUBLIC
    check_public(path)
    return path.read_bytes()


def check_public(path: Path) -> None:
    """Refuse what is no public key as boards hold it. Raises Failure."""
    try:
        with path.open("rb") as f:
            data = f.read(SIZE + 1)
    except OSError as e:
        raise Failure("there is no update key", f"{path}: {e.strerror}", "rootlet ca update-key", Exit.USAGE) from None
    if len(data) != SIZE or not data[0] & 0x80 or not data[-1] & 1:
        because = f"{path} is not the {SIZE} bytes of an RSA-{BITS} modulus"
        raise Failure("the update key cannot be used", because, "rootlet ca update-key", Exit.USAGE)


def sign(key: "RSAPrivateKey", text: bytes) -> bytes:
    """What boards fetch: the signature in base64, a line feed, the text (RFC 8017, section 8.2.1)."""
    from cryptography.hazmat.primitives.asymmetric import padding
    from cryptography.hazmat.primitives.hashes import SHA256

    return base64.b64encode(key.sign(text, padding.PKCS1v15(), SHA256())) + b"\n" + text


def _read(folder: Path) -> bytes:
    try:
        return (folder / PRIVATE).read_bytes()
    except OSError as e:
        because = f"{folder / PRIVATE}: {e.strerror}"
        raise Failure("there is no update key", because, "rootlet ca update-key", Exit.USAGE) from None
