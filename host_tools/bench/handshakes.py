"""Full verified handshakes by key type, length of the chain, where the root comes from, and who shows a certificate."""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from host_tools.bench.place import ON_BOARD, Place
from host_tools.bench.rows import Row

GROUP = "handshakes"
BARE = "p256, bare"  # what all are told as ratios to
PEEK_LIMIT = 0.3  # of the bare handshake with the same chain, for the look
_PROMISED = ("p256", "p384", "rsa2048")  # where the server sends its leaf only
_NOTES = {
    "bare": "MicroPython's own tls, nothing of the firmware",
    "embedded": "the root is the board's only one",
    "first contact": "the root is found by a look at the server, among all of Mozilla's",
    "remembered": "the root is known from the contact before",
    "peek": "the look alone",
    "look-up": "the root in the store alone",
}


def _cases(quick: bool) -> list[tuple[str, int, bool]]:
    """(key type, certificates that the server sends, mutual TLS): mutual with the shortest chain only."""
    kinds = ("p256",) if quick else ("p256", "p384", "rsa2048", "rsa3072", "rsa4096")
    rows = ((1, False), (1, True), (2, False)) if quick else ((1, False), (1, True), (2, False), (3, False))
    return [(kind, sent, mutual) for kind in kinds for sent, mutual in rows]


def _name(kind: str, sent: int, mutual: bool) -> str:
    return kind + (f", {sent} sent" if sent > 1 else "") + (", mutual" if mutual else "")


def measure(place: Place, quick: bool) -> list[Row]:
    """Rows in ms, told as ratios to BARE; one value a round, all of them in turn in each round."""
    import certifi

    from host_tools import ca, root_store
    from host_tools.bench import chains
    from host_tools.servers import HttpsServer

    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder = Path(name)
        devices = ca.init(folder / "devices", subject="/CN=Bench devices")
        device = devices.issue_device("bench")
        servers: list[dict[str, Any]] = []
        files: dict[str, Path | bytes] = {"device.crt.der": device.cert_der, "device.key.der": device.key_der}
        roots: dict[str, Path] = {}
        made: dict[tuple[str, int], chains.Chain] = {}
        for kind, sent, mutual in _cases(quick):
            root = f"{kind}_{sent}.der"
            if (kind, sent) not in made:
                made[kind, sent] = chain = chains.make(folder / f"{kind}-{sent}", kind, sent, place.address)
                files[root], roots[root] = chain.root_der, chain.root_pem
            chain = made[kind, sent]
            server = HttpsServer(
                chain.cert_pem, chain.key_pem, {"/": b"ok"}, place=(place.bind, 0),
                devices=devices.cert_pem if mutual else None,
            )  # fmt: skip
            port = stack.enter_context(server).port
            servers.append({
                "name": _name(kind, sent, mutual), "port": port, "root": root, "mutual": mutual, "peek": not mutual,
                "ways": ["bare", "embedded", "store"],
            })  # fmt: skip
        root_store.make(
            folder / "roots.bin", bundles=[Path(certifi.where()), *roots.values()], names=[], hosts=[], deny=[],
            max_bytes=None, build_time=None,
        )  # fmt: skip
        files["roots.bin"] = folder / "roots.bin"
        job = {"host": place.address, "now": int(time.time()), "servers": servers, "rounds": 2 if quick else 9}
        results = place.run(ON_BOARD / "handshakes.py", job, files)
    rows = []
    for result in results:
        bare = f"{result['name']}, bare"
        for way, values in result["ms"].items():
            row = f"{result['name']}, {way}"
            # The look is told against the handshake of the same chain, all the rest against one and the same.
            to = None if row == BARE else bare if way in ("peek", "look-up") else BARE
            promised = PEEK_LIMIT if way == "peek" and result["name"] in _PROMISED else None
            rows.append(Row(GROUP, row, "ms", tuple(values), to, "less", _NOTES[way], promised=promised))
    return rows
