"""Simulated: os without what only a desktop has (environment, shell), with the board's uname()."""
# ruff: noqa: F401

from collections import namedtuple

import _sim
from uos import (
    VfsFat,
    VfsLfs2,
    chdir,
    getcwd,
    ilistdir,
    listdir,
    mkdir,
    mount,
    remove,
    rename,
    rmdir,
    sep,
    stat,
    statvfs,
    umount,
    unlink,
    urandom,
)

_U = namedtuple("uname", ("sysname", "nodename", "release", "version", "machine"))


def uname():
    port = _sim.board["port"]
    return _U(port, port, "1.29.0", "v1.29.0 (virtual)", _sim.board["machine"])


def sync():
    pass
