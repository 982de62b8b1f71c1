"""Remote update: a signed list of files, fetched over verified HTTPS into the tree that does not run; docs/updates.md.

Loaded when it is wanted, and let go again. What makes the other tree count goes first and comes last, as in a
deployment by cable; whole files of an interrupted update stay, and the next try goes on from them.
"""

import asyncio
import binascii
import gc
import hashlib
import json
import os
import sys

from . import https, kept, trees
from .deadline import Deadline, waiting
from .errors import RootletError, unload

_LONGEST = 8192  # bytes of the list
FILE_MS = 60000  # for one file, from the name look-up to its last byte
_ALL_MS = 3600000
_OWN = ("complete", "complete.new", "tried", "starts")
_CARRIED = (("trust_roots.py", "trust_roots.mpy"), ("roots.bin",))


def _digest(name):
    """[size in bytes, SHA-256 in hex] of a file, or None."""
    h = hashlib.sha256()
    size = 0
    buf = bytearray(512)
    view = memoryview(buf)
    try:
        with open(name, "rb") as f:
            while True:
                n = f.readinto(buf)
                if not n:
                    break
                size += n
                h.update(view[:n])
    except OSError:
        return None
    waiting()
    return [size, binascii.hexlify(h.digest()).decode()]


def _walk(folder):
    """The names of the files in a folder and in those in it."""
    found = []
    for row in os.ilistdir(folder):
        if row[1] == 0x4000:
            found += [row[0] + "/" + name for name in _walk(folder + "/" + row[0])]
        else:
            found.append(row[0])
    return found


def _size(name):
    try:
        return os.stat(name)[6]
    except OSError:
        return -1


def _copy(pieces, target):
    with open(target, "wb") as f:
        for piece in pieces:
            f.write(piece)


def _local(name):
    with open(name, "rb") as f:
        while True:
            piece = f.read(512)
            if not piece:
                return
            yield piece


def _page(url, trust, timeout_ms, max_bytes):
    response = https.get(url, trust, timeout_ms=timeout_ms, max_bytes=max_bytes)
    if response.status != 200:
        response.close()
        raise RootletError("UPDATE_FILE", "status %d for %s" % (response.status, url.partition("?")[0][-80:]))
    return response


def _replace(name):
    """Put NAME.new in the place of NAME. Where a file system cannot rename over a file (FAT), boot.py knows both."""
    try:
        os.rename(name + ".new", name)
    except OSError:
        os.remove(name)
        os.rename(name + ".new", name)


def _key(options):
    name = options["key"]
    if name:
        try:
            with open(name, "rb") as f:
                return f.read(385)
        except OSError:
            pass
    raise RootletError("UPDATE_OFF", "no file '%s'" % name if name else "update.key is not set")


def _begin(place, files):
    """Take from the other tree what makes it count, then what does not belong into it. May be cut off anywhere."""
    if _size(place) < 0:
        os.mkdir(place)
    there = _walk(place)
    for name in _OWN:
        if name in there:
            os.remove(place + "/" + name)
    for name in there:
        if name not in files and name not in _OWN:
            os.remove(place + "/" + name)
    for folder in ["state", "former"] + [name.partition("/")[0] for name in files if "/" in name]:
        if _size(place + "/" + folder) < 0:
            os.mkdir(place + "/" + folder)


def _check_room(place, files):
    space = os.statvfs("/")
    block = space[0]
    free = space[3] - 6
    for name in _walk(place) if _size(place) >= 0 else ():
        free += -(-_size(place + "/" + name) // block)
    need = sum([-(-row[0] // block) for row in files.values()])
    if need > free:
        raise RootletError("UPDATE_FLASH", "%d bytes are needed, %d are free" % (need * block, free * block))


async def fetch(url, trust, settings, board, log):
    """Bring an update into the tree that does not run, and mark it, so that the next restart tries it.

    Other tasks run between two files. The caller has closed its own TLS connection: there is memory for one.

    Args:
        url: of the signed list; its files are beside it, each under its SHA-256. With "#again" after it also a version
            that this board has gone back from is taken. trust: a trust.Trust.
        settings: a checked configuration. board: the board file. log: function (topic, text).
    Returns the new version. Raises RootletError UPDATE_*, HTTP_*, and whatever tls.connect raises; the tree that runs
    is as before then, and calling again goes on from the files that are whole.
    """
    try:
        return await _fetch(url, trust, settings["update"], board, log)
    except OSError as e:
        raise RootletError("UPDATE_FLASH", "error %s" % e) from None


async def _fetch(url, trust, options, board, log):
    modulus = _key(options)
    tree = trees.current()
    if not tree or trees.trial():
        raise RootletError("UPDATE_REFUSED", tree[1:] + " is on trial itself" if tree else "the program is in no tree")
    end = Deadline(_ALL_MS)
    trust = trust.with_pins(options["pins"])
    with _page(url, trust, FILE_MS, _LONGEST + 600) as response:
        data = response.read()
    from . import manifest

    try:
        data = manifest.checked(manifest.opened(data, modulus))
        failed = None if url[-6:] == "#again" else trees.rolled_back()
        mpy = getattr(sys.implementation, "_mpy", 0)
        manifest.allow(data, board.get("id"), mpy, trees.version() or 0, failed, options["downgrade"])
    finally:
        unload("manifest")
        unload("signature")
    version, made, files = data["version"], data["made"], data["files"]
    data = None
    gc.collect()
    # Trust is not the update's business: roots stay, where the list has none.
    for group in _CARRIED:
        if not [name for name in group if name in files]:
            for name in group:
                row = _digest(tree + "/" + name)
                if row:
                    files[name] = row
    place = trees.TREES[tree == trees.TREES[0]]
    _check_room(place, files)
    log("update", "version %d: %d files" % (version, len(files)))
    _begin(place, files)
    base = url.partition("?")[0].rpartition("/")[0] + "/"
    count = 0
    for name in sorted(files):
        row = files[name]
        target = place + "/" + name
        if _digest(target) == row:
            continue
        if _size(target) >= 0:
            os.remove(target)  # a file system holds the old blocks until the new file is closed
        await asyncio.sleep_ms(0)
        if _digest(tree + "/" + name) == row:
            _copy(_local(tree + "/" + name), target)
        else:
            with _page(base + row[1], trust, min(FILE_MS, end.left()) or 1, row[0]) as response:
                _copy(response, target)
            count += 1
            gc.collect()
        # Read back: what counts is what is on the flash.
        if _digest(target) != row:
            os.remove(target)
            raise RootletError("UPDATE_FILE", "%s is not what was signed" % name)
    with open(place + "/complete.new", "w") as f:
        # In this order: trees.version() reads the first bytes only.
        f.write('{"made":%d,"version":%d,"state":{},"files":' % (made, version))
        json.dump(files, f)
        f.write("}")
    _replace(place + "/complete")
    kept.save(fails=0, crashes=0)  # a new program starts without the crashes of the former one
    with open("app.new", "w") as f:
        f.write(place[-1] + "\n")
    _replace("app")
    log("update", "version %d is in %s, %d files fetched" % (version, place[1:], count))
    return version
