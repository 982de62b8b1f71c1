"""What the retained status topic says: of this start, the connection, the outbox, the signal, the certificate."""

import json
import time

from . import health, memory, trees

LONGEST = 1023
_BLOCK_MS = 60000
# What may be long goes first, should it be too much.
_SHORTER = ("trouble", "last_error")


def _largest_block(state):
    """It costs a collection, and a search that takes all memory for a moment: once a minute at most."""
    now = time.ticks_ms()
    if "block" not in state or time.ticks_diff(now, state["block_at"]) >= _BLOCK_MS:
        state["block"], state["block_at"] = memory.largest_block(), now
    return state["block"]


def cert_days(state, name, now):
    """Whole days until the board's own certificate ends, less than 0 when it has; None without one.

    Args: state: a dict that the caller keeps; the file is read once. name: of the certificate's file, DER, or None.
        now: Unix seconds.
    """
    if "cert" not in state:
        state["cert"] = _end(name) if name else 0
    return (state["cert"] - now) // 86400 if state["cert"] else None


def _end(name):
    from . import x509  # where TLS is in use it is loaded already

    try:
        with open(name, "rb") as f:
            return x509.parse(f.read(4096)).not_after
    except (OSError, x509.Malformed):
        return 0


def status(device, state, link=None, outbox=None, rssi=None, cert=None, now=0, ble=None):
    """The status as JSON text of less than 1 KB; its fields: docs/telemetry.md.

    Args: state: a dict that the caller keeps, empty at first. link: the Link, outbox: the Outbox, or None. rssi: dBm
        or None. cert: file of the board's certificate, or None. now: Unix seconds. ble: see Listener.status.
    """
    said = health.report(device)
    said["largest_block"] = _largest_block(state)
    if link is not None:
        said["broker"] = "%s:%d" % link.broker
        said["handshake_ms"] = link.handshake_ms
        said["reconnects"] = link.reasons
        stream = link.client.sock
        said["tls"] = [stream.version, stream.cipher] if stream else None
    said["rssi"] = rssi
    if ble:
        said["ble"] = ble
    said["cert_days"] = cert_days(state, cert, now)
    if outbox is not None:
        said["outbox"] = {
            "depth": len(outbox),
            "dropped": outbox.dropped,
            "stored": outbox.stored,
            "errors": outbox.errors,
        }
    tree = trees.current()
    said["tree"] = tree and tree[-1]
    for key, name in (("tree_version", "version"), ("trial", "trial"), ("rolled_back", "rolled_back")):
        ask = getattr(trees, name, None)
        said[key] = ask() if ask else None
    text = json.dumps(said)
    if ble and len(text.encode()) > LONGEST:
        ble["seen"] = len(ble["seen"])
        text = json.dumps(said)
    for key in _SHORTER:
        if len(text.encode()) > LONGEST and said[key]:
            said[key]["fact"] = ""
            text = json.dumps(said)
    if len(text.encode()) > LONGEST and said.pop("tls", None):
        text = json.dumps(said)
    if len(text.encode()) > LONGEST:  # names of the longest kind
        said.update({"reconnects": {}, "trouble": None, "last_error": None})
        text = json.dumps(said)
    return text
