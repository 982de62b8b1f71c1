"""Every engine that is installed keeps every promise, asked from outside; and the probe sees promises broken."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from host_tools import broker_probe
from host_tools.broker import Broker
from host_tools.broker_probe import DEVICE, OBSERVER, REVOKED, Papers, Probe
from host_tools.engines import table
from tests.integration.conftest import Pki

PROMISES = [
    "the server has the name and a chain to the CA",
    "a device writes below its own topic and an observer sees it",
    "a device cannot write below another's topic",
    "a device cannot read what others write",
    "an unlisted certificate can do nothing",
    "no certificate is refused",
    "a certificate of another CA is refused",
    "an expired certificate is refused",
    "a revoked certificate is refused",
    "TLS 1.1 is refused",
]


@pytest.fixture(params=table.NAMES)
def engine(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    if not table.engine(name).find():
        pytest.skip(f"{name} is not installed: {table.engine(name).INSTALL}")
    return name


@pytest.fixture
def issued(pki: Pki) -> Iterator[Papers]:
    with broker_probe.papers(pki.authority) as papers:
        yield papers


def running(pki: Pki, engine: str, folder: Path, **options) -> Broker:  # type: ignore[no-untyped-def]
    return Broker(
        pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem, workdir=folder, engine=engine, **options
    )


def test_every_promise_is_kept(pki: Pki, engine: str, issued: Papers, tmp_path: Path) -> None:
    revoked = issued.issue(REVOKED)
    crl = issued.revoke(REVOKED)
    with running(
        pki, engine, tmp_path, devices=[DEVICE, "dev-1"], observers=[OBSERVER], operators=[], revoked=crl
    ) as broker:
        lines = list(Probe("localhost", broker.port, pki.authority.cert_pem, issued, revoked=revoked).run())
    print("\n".join(map(str, lines)))
    assert [line.promise for line in lines] == PROMISES
    assert [str(line) for line in lines if line.kept is not True] == []


def test_the_probe_sees_what_is_open(pki: Pki, issued: Papers, tmp_path: Path) -> None:
    revoked = issued.issue(REVOKED)
    with running(pki, "amqtt", tmp_path, mtls=False) as broker:
        lines = list(Probe("localhost", broker.port, pki.authority.cert_pem, issued, revoked=revoked).run())
    kept = {line.promise: line.kept for line in lines}
    assert [promise for promise in PROMISES if kept[promise]] == [PROMISES[0], PROMISES[1], PROMISES[-1]]


def test_the_probe_says_that_nobody_is_there(pki: Pki, issued: Papers) -> None:
    lines = list(Probe("localhost", 1, pki.authority.cert_pem, issued).run())
    assert not any(line.kept for line in lines)
