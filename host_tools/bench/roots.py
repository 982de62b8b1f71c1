"""The time to look at a server and find its root among all of Mozilla's, against the handshake that follows."""

import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

from host_tools.bench.place import ON_BOARD, Place
from host_tools.bench.rows import Row

PEEK_LIMIT = 0.3  # of the handshake, for the look


def measure(place: Place, quick: bool) -> list[Row]:
    """For roots of four kinds: the look, the look-up, and the whole verified handshake."""
    import certifi

    from host_tools import ca, root_store
    from host_tools.servers import HttpsServer

    kinds = ("p256",) if quick else ("p256", "p384", "rsa2048", "rsa4096")
    with tempfile.TemporaryDirectory() as name, ExitStack() as stack:
        folder, servers, found = Path(name), [], []
        for kind in kinds:
            authority = ca.init(folder / f"ca-{kind}", subject=f"/O=Bench/CN=Bench {kind}", key_type=kind)
            issued = authority.issue_server([place.address], key_type="rsa2048" if kind.startswith("rsa") else "p256")
            server = HttpsServer(issued.cert_pem, issued.key_pem, {"/": b"ok"}, place=(place.bind, 0))
            servers.append([kind, stack.enter_context(server).port])
            found.append(authority.cert_pem)
        root_store.make(
            folder / "roots.bin", bundles=[Path(certifi.where()), *found], names=[], hosts=[], deny=[],
            max_bytes=None, build_time=None,
        )  # fmt: skip
        job = {"host": place.address, "now": int(time.time()), "servers": servers, "rounds": 3 if quick else 15}
        results = place.run(ON_BOARD / "finding_roots.py", job, {"roots.bin": folder / "roots.bin"})
    rows = []
    for result in results:
        kind = result["name"]
        whole = f"{kind}: handshake"
        rows.append(Row("roots", whole, "ms", tuple(result["handshake_ms"]), better="less"))
        for what, promised in (("look", PEEK_LIMIT), ("look-up", None)):
            values = tuple(result[what.replace("-", "_") + "_ms"])
            row = Row("roots", f"{kind}: {what}", "ms", values, whole, "less", allowance=1.0, promised=promised)
            rows.append(row)
    return rows
