"""What a signed list of an update says, and whether it is for this board; pure. Its format: docs/updates.md."""

import binascii
import hashlib
import json

from . import signature
from .errors import RootletError

_LARGEST = 1 << 20  # bytes of a file
_OWN = ("complete", "complete.new", "tried", "starts", "state", "former")


def opened(data, modulus):
    """The text that was signed. Args: data: base64 of the signature, a line feed, the text. modulus: see signature.

    Raises: RootletError UPDATE_SIGNATURE; nothing of the text has been looked at then.
    """
    line, _, text = data.partition(b"\n")
    try:
        signed = binascii.a2b_base64(line)
    except ValueError:
        signed = b""
    if not signature.verify(modulus, hashlib.sha256(text).digest(), signed):
        raise RootletError("UPDATE_SIGNATURE", "%d bytes" % len(data))
    return text


def _whole(v, most):
    return isinstance(v, int) and not isinstance(v, bool) and 0 <= v <= most


def _plain(name):
    """Whether a name stays in the tree: at most one folder, plain characters, none of the tree's own names."""
    parts = name.split("/")
    if len(parts) > 2 or parts[0] in _OWN:
        return False
    for part in parts:
        if not 0 < len(part) <= 48 or part[0] == ".":
            return False
        for c in part:
            if not ("a" <= c <= "z" or "A" <= c <= "Z" or "0" <= c <= "9" or c in "_-."):
                return False
    return True


def checked(text):
    """The list as a dict, every field of the right kind. text: bytes. Raises RootletError UPDATE_MANIFEST, MEMORY."""
    what = "no JSON object, or a field is missing"
    try:
        data = json.loads(text)
        for what, good in (
            ("format", data["format"] == 1),
            ("version", _whole(data["version"], 1 << 40)),
            ("made", _whole(data["made"], 1 << 40)),
            ("name", isinstance(data["name"], str) and len(data["name"]) <= 64),
            ("board", isinstance(data["board"], list)),
            ("mpy", isinstance(data["mpy"], str)),
            ("downgrade", isinstance(data["downgrade"], bool)),
            ("files", isinstance(data["files"], dict) and 0 < len(data["files"]) <= 128),
        ):
            if not good:
                raise ValueError
        for what in data["files"]:
            size, digest = data["files"][what]
            if not (_plain(what) and _whole(size, _LARGEST) and isinstance(digest, str) and len(digest) == 64):
                raise ValueError
            for c in digest:
                if c not in "0123456789abcdef":
                    raise ValueError
        return data
    except (ValueError, TypeError, KeyError, RuntimeError):  # RuntimeError: nested too deeply
        raise RootletError("UPDATE_MANIFEST", what[:48]) from None
    except MemoryError:
        raise RootletError("MEMORY", "the list of the update") from None


def allow(data, board, mpy, running, failed, downgrade):
    """Refuse what is not for this board, or not newer.

    Args: data: see checked. board: its id. mpy: sys.implementation._mpy. running: version. failed: a version that this
        board has gone back from and that is not to be tried again, or None. downgrade: whether older ones may be taken.
    Raises: RootletError UPDATE_REFUSED.
    """
    version = data["version"]
    loads = "%d.%d" % (mpy & 255, mpy >> 8 & 3)
    if board not in data["board"]:
        why = "it is for %s, this is %s" % (", ".join([str(b) for b in data["board"]])[:60], board)
    elif data["mpy"] != loads:
        why = "its .mpy files are %s, this board loads %s" % (data["mpy"][:8], loads)
    elif version == failed:
        why = "version %d has failed here before" % version
    elif version <= running and not (downgrade and data["downgrade"] and version != running):
        why = "version %d is not newer than %d" % (version, running)
    else:
        return
    raise RootletError("UPDATE_REFUSED", why)
