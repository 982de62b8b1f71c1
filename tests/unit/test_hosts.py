"""Wherever a host enters, other letters than ASCII are refused, and the words name the form to use."""

import pytest

from rootlet import config, http1, tls
from rootlet.errors import RootletError

HOST = "bücher.example"


def test_a_connection() -> None:
    with pytest.raises(RootletError) as caught:
        tls.resolve(HOST, 443)
    assert caught.value.code == "DNS"
    assert "xn--" in caught.value.fix


def test_a_url() -> None:
    with pytest.raises(ValueError, match="xn--"):
        http1.split_url(f"https://{HOST}/")


@pytest.mark.parametrize("value", [{"mqtt": {"host": HOST}}, {"https": {"url": f"https://{HOST}/"}}])
def test_the_configuration(value: dict[str, dict[str, str]]) -> None:
    good = {
        "device": "pico-1",
        "wifi": {"networks": [{"ssid": "home"}]},
        "mqtt": {"host": "broker.example"},
        "sensors": [{"kind": "simulated", "name": "demo"}],
    }
    config.check(good)
    with pytest.raises(RootletError) as caught:
        config.check({**good, **value})
    assert caught.value.code == "CONFIG"
    assert "xn--" in caught.value.fix
