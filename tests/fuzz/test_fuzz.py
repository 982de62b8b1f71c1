"""Bytes from outside may be anything: each reader raises its own error type or nothing at all."""

import json
import os
from functools import lru_cache

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rootlet import config, http1, mqtt, policy, sntp, x509
from rootlet.errors import RootletError
from rootlet.stream import Stream
from tests import samples
from tests.unit.fake_socket import FakeSocket

EXAMPLES = int(os.environ.get("ROOTLET_FUZZ_EXAMPLES", "2000"))
fuzz = settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))


@lru_cache
def certificates() -> list[bytes]:
    return samples.certificates()


def parse(der: bytes) -> None:
    try:
        cert = x509.parse(der)
        x509.label(cert.subject)
        x509.organisation(cert.issuer)
    except x509.Malformed:
        return
    for check in (policy.check_signature, policy.check_ca):
        try:
            check(cert)
        except RootletError as e:
            assert e.code.startswith("CERT_")
    try:
        policy.check_any(cert, 1795239001)
        policy.check_server(cert)
        policy.check_name(cert, der, "host.example")
    except RootletError as e:
        assert e.code.startswith("CERT_")


@fuzz
@given(st.binary(max_size=2000))
def test_any_bytes_as_a_certificate(der):
    parse(der)


@fuzz
@given(st.data())
def test_changed_certificates(data):
    der = bytearray(data.draw(st.sampled_from(certificates())))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(der) - 1))
        der[at] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, len(der)))
    parse(bytes(der[:cut] if data.draw(st.booleans()) else der))


def test_every_cut_and_every_flip_of_one_certificate():
    der = certificates()[0]
    for at in range(len(der)):
        parse(der[:at])
        for flip in (0x01, 0x80, 0xFF):
            parse(der[:at] + bytes([der[at] ^ flip]) + der[at + 1 :])
    with pytest.raises(x509.Malformed):
        x509.parse(der + b"\0")


def feed(parser, data, size):
    body = b""
    for i in range(0, len(data), size):
        buf = bytearray(data[i : i + size])
        body += bytes(buf[: parser.feed(buf, len(buf))])
    return body


@fuzz
@given(
    st.lists(
        st.one_of(
            st.binary(max_size=40),
            st.sampled_from(
                [
                    b"HTTP/1.1 200 OK\r\n",
                    b"Content-Length: 5\r\n",
                    b"Transfer-Encoding: chunked\r\n",
                    b"\r\n",
                    b"5\r\nhello",
                ]
            ),
        ),
        max_size=20,
    ),
    st.integers(1, 7),
)
def test_http_gives_the_same_however_it_is_cut(pieces, size):
    data = b"".join(pieces)
    outcomes = []
    for step in (max(1, len(data)), size):
        parser = http1.Parser()
        try:
            body = feed(parser, data, step)
            parser.eof()
            outcomes.append((parser.status, body))
        except http1.BadResponse as e:
            outcomes.append(str(e))
    assert outcomes[0] == outcomes[1]


@fuzz
@given(st.text(max_size=60))
def test_any_text_as_a_url(text):
    for url in (text, "https://" + text):
        try:
            host, port, path = http1.split_url(url)
        except ValueError:
            continue
        assert host
        assert 0 < port < 65536
        assert path.startswith("/")
        assert "\n" not in host + path


@fuzz
@given(st.binary(max_size=70), st.binary(min_size=8, max_size=8))
def test_any_reply_of_a_time_server(reply, nonce):
    try:
        sntp.parse(reply, nonce)
    except sntp.BadReply:
        return
    assert reply[24:32] == nonce


@fuzz
@given(st.binary(max_size=200))
def test_anything_a_broker_sends(data):
    client = mqtt.Client("me", "broker", 8883, None)
    client.set_callback(lambda topic, message: None)
    fake = FakeSocket([data])
    client.sock = Stream(fake, fake, "broker", 1000)
    try:
        while client.check_msg():
            pass
    except RootletError as e:
        assert e.code in ("MQTT_PACKET", "MQTT_CLOSED", "MQTT_TOO_LARGE")
    finally:
        client.close()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["device", "wifi", "mqtt", "sensors", "networks", "ssid", "x"]), inner, max_size=4
        )
    ),
    max_leaves=12,
)


@fuzz
@given(JSON)
def test_any_json_as_a_configuration(value):
    try:
        config.check(json.loads(json.dumps(value)))
    except RootletError as e:
        assert e.code == "CONFIG"
        assert e.fix
