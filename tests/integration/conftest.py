"""A throw-away CA and running brokers for the integration tests."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from host_tools import ca
from host_tools.broker import Broker, choose
from host_tools.failure import Failure


@dataclass
class Pki:
    """A CA, a server for localhost, four clients, and a CA that nobody knows."""

    folder: Path
    authority: ca.Authority
    server: ca.Issued
    clients: dict[str, ca.Issued]
    stranger: ca.Issued


@pytest.fixture(scope="session")
def pki(tmp_path_factory: pytest.TempPathFactory) -> Pki:
    folder = tmp_path_factory.mktemp("pki")
    authority = ca.init(folder / "ca", subject="/CN=Integration CA")
    other = ca.init(folder / "other", subject="/CN=Other CA")
    return Pki(
        folder,
        authority,
        authority.issue_server(["localhost"], ips=["127.0.0.1"]),
        {name: authority.issue_device(name) for name in ("dev-1", "dev-2", "observer", "operator")},
        other.issue_device("dev-1"),
    )


@pytest.fixture(scope="session", params=["mosquitto", "amqtt", "nats"])
def broker(request: pytest.FixtureRequest, pki: Pki, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Broker]:
    """A running broker with mutual TLS, of each kind."""
    try:
        engine = choose(request.param)
    except Failure:
        pytest.skip(f"{request.param} is not installed and could not be")
    folder = tmp_path_factory.mktemp(engine)
    with Broker(
        pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem, workdir=folder, engine=engine
    ) as running:
        yield running
