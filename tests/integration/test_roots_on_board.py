"""A root store on a virtual Pico W: a public page and a private broker, each by the root it needs; and `--host`."""

import json
from pathlib import Path

from cryptography.hazmat.primitives.serialization import Encoding

from host_tools import certs, deploy, root_store
from host_tools.servers import HttpsServer, SntpServer
from host_tools.sim.board import VirtualBoard
from rootlet.store import Store
from tests import lookalike
from tests.integration import hostile
from tests.integration.chains import certificate, write
from tests.integration.conftest import Pki
from tests.integration.test_gateway import SCRIPT, observer, readings, running_broker, settings


def bundle(path: Path, found: list) -> Path:
    path.write_bytes(b"".join(cert.public_bytes(Encoding.PEM) for cert in found))
    return path


def make(out: Path, **more) -> list[str]:
    options = {"bundles": [], "names": [], "hosts": [], "deny": [], "max_bytes": None, "build_time": None}
    return root_store.make(out, **{**options, **more})


def test_a_public_page_and_a_private_broker(pki: Pki, tmp_path: Path) -> None:
    everything, signers = lookalike.pki()
    public = next(s for s in signers if getattr(s.cert.public_key(), "key_size", 0) == 4096)
    store = lookalike.write_store(tmp_path / "roots.bin", everything)
    embedded = certs.embed([pki.authority.cert_pem], tmp_path / "trust_roots.py")
    files = write(tmp_path, "public", *lookalike.server_chain(public))
    device = pki.clients["dev-1"]
    with (
        running_broker(pki, tmp_path) as broker,
        SntpServer() as sntp,
        HttpsServer(*files, {"/": b"public page"}) as page,
        observer(pki, broker.port) as watcher,
    ):
        config = tmp_path / "config.json"
        config.write_text(json.dumps(settings(broker.port, sntp.port, page.port)))
        flash = deploy.stage(
            tmp_path / "flash", config=config, trust=embedded.compiled, roots=store, cert=device.cert_der,
            key=device.key_der,
        )  # fmt: skip
        with VirtualBoard(flash, board="pico_w", script=SCRIPT) as board:
            board.wait_for(r"https: GET https://localhost:\d+/: status 200, 11 bytes", 30)
            chain = board.wait_for(r"https: verified: .*", 5)
            board.wait_for("mqtt: connected .* by mutual TLS", 30)
            readings(watcher, 3)
    assert len(chain.split(" > ")) == 3
    kept = dict(json.loads((flash / "picked.json").read_text()))
    assert set(kept) == {f"localhost:{page.port}", f"localhost:{broker.port}"}
    assert len(set(kept.values())) == 2


def test_a_store_for_one_host(tmp_path: Path) -> None:
    """The root that a server needs is asked of the server; the bundle alone says which roots there are."""
    root = certificate("Shop Root 1", ca=True, organisation="Shop")
    successor = certificate("Shop Root 2", ca=True, organisation="Shop")
    other = certificate("Other Root", ca=True, organisation="Other")
    middle = certificate("Shop CA", root, ca=True, organisation="Shop")
    leaf = certificate("shop", middle, dns=("localhost",))
    roots = bundle(tmp_path / "roots.pem", [other.cert, root.cert, successor.cert])
    context = hostile.tls_context(*write(tmp_path, "shop", leaf, middle))
    with hostile.serve(hostile.over_tls(context, hostile.replies(b""))) as port:
        told = make(tmp_path / "r.bin", bundles=[roots], hosts=[f"localhost:{port}"])
    assert [line.split()[0] for line in told[:2]] == ["chosen", "successor"]
    assert "Shop Root 1" in told[0]
    assert "Shop Root 2" in told[1]
    assert Store(str(tmp_path / "r.bin")).count == 2
