"""`rootlet demo` itself, with each broker: every promise of the first minute, in its own words."""

from pathlib import Path

import pytest

from host_tools import demo
from host_tools.broker import choose
from host_tools.failure import Failure


@pytest.mark.parametrize("engine", ["mosquitto", "amqtt"])
def test_demo(engine: str, tmp_path: Path) -> None:
    try:
        choose(engine)
    except Failure:
        pytest.skip("Mosquitto is not installed and could not be")
    lines: list[str] = []
    demo.run(lines.append, folder=tmp_path / "demo", engine=engine)
    text = "\n".join(lines)
    for promise in (
        f"started {engine}",
        "virtual Pico W over mpremote",
        "wifi: joined",
        "clock: 20",
        "status 200",
        "https: verified: TLSv1.2, TLS-ECDHE-ECDSA",
        "by mutual TLS",
        "20 readings received",
        "CERT_NAME: the certificate is for another name",
        "CERT_UNKNOWN_CA: the server's CA is not among",
        "CERT_EXPIRED: a certificate of the server has expired",
        "everything verified, everything hostile refused",
    ):
        assert promise in text, text
    assert (
        text.index("wifi: joined") < text.index("clock: 20") < text.index("https: GET") < text.index("mqtt: connected")
    )
