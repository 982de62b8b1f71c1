"""The facts that errors carry: what was observed, and nothing that a log should not hold."""

import errno

import pytest

from rootlet import clock, https, mqtt, tls
from rootlet.deadline import Deadline
from rootlet.errors import RootletError
from rootlet.http1 import Parser
from rootlet.stream import Stream
from tests.unit.fake_socket import FakeSocket


def fake_stream(pieces, host):
    fake = FakeSocket(pieces)
    return Stream(fake, fake, host, 50)


def fact(code, function, *args):
    with pytest.raises(RootletError) as e:
        function(*args)
    assert e.value.code == code
    return e.value.fact


def test_a_name_that_is_not_known(monkeypatch):
    def fails(*_):
        raise OSError(-202)

    monkeypatch.setattr(tls.socket, "getaddrinfo", fails)
    assert fact("DNS", tls.resolve, "a.example", 443) == "no address for 'a.example' (error -202)"
    asked = clock.Clock(0, ["ntp.example"], path="/nowhere/clock.json", set_rtc=None)
    assert fact("CLOCK_NOT_SET", asked.sync) == "ntp.example: no address (-202)"


def test_the_address_that_did_not_answer(monkeypatch):
    class Refused:
        def setblocking(self, flag):
            pass

        def connect(self, address):
            raise OSError(errno.ECONNREFUSED)

        def close(self):
            pass

    monkeypatch.setattr(tls.socket, "socket", Refused)
    deadline = Deadline(50)
    said = fact("TCP_REFUSED", tls._dial, ("10.0.0.7", 8883), "broker.home", 8883, deadline)
    assert said == f"broker.home:8883 at 10.0.0.7, error {errno.ECONNREFUSED}"
    said = fact("TCP_REFUSED", tls._dial, ("10.0.0.7", 8883), "10.0.0.7", 8883, deadline)
    assert said == f"10.0.0.7:8883, error {errno.ECONNREFUSED}"


def response(data, url="https://a.example/v1?key=SECRET"):
    made = https.Response(fake_stream([data], "a.example"), Parser(), url, 1000)
    made._read_head()
    return made


def test_a_page_that_is_not_json_tells_what_it_is_and_keeps_the_query_to_itself():
    page = response(b"HTTP/1.1 404 Not Found\r\nContent-Type: text/html\r\nContent-Length: 6\r\n\r\n<html>")
    assert fact("HTTP_JSON", page.json) == "https://a.example/v1: status 404, 'text/html'"
    short = response(b"HTTP/1.1 200 OK\r\nContent-Length: 60\r\n\r\n<html>")
    assert "SECRET" not in fact("HTTP_TRUNCATED", short.read)
    assert "SECRET" not in fact("HTTP_RESPONSE", response, b"SSH-2.0-OpenSSH\r\n")


def test_a_broker_that_is_none_or_refuses(monkeypatch):
    def answers(reply):
        monkeypatch.setattr(tls, "connect", lambda *_: fake_stream([reply], "broker"))
        return mqtt.Client("pico1", "broker", 8883, None, user="u", password="SECRET", timeout_ms=50).connect

    assert fact("MQTT_PACKET", answers(b"HTTP/1.1")) == "no CONNACK, but b'HTTP'"
    assert fact("MQTT_REFUSED", answers(b"\x20\x02\x00\x05")) == "reason 5: not authorised, client id 'pico1'"
