"""The words for a TLS conversation, on conversations that this machine's own TLS holds with itself."""

import ssl
import struct

import pytest

from host_tools.tls_words import Conversation
from tests.conversations import conversation


def words(pieces, chunk=None, end=True):
    """The lines as (sender, text); `chunk` cuts the bytes small."""
    talk = Conversation()
    lines = []
    for n, (sender, data) in enumerate(pieces):
        for at in range(0, len(data), chunk or len(data)):
            lines += talk.feed(sender, data[at : at + (chunk or len(data))], n / 10)
    if end:
        lines += talk.end(len(pieces) / 10)
    return [(line.sender, line.text) for line in lines]


def heads(lines):
    return [(sender[0], text.split(":")[0].split(",")[0]) for sender, text in lines]


MUTUAL = [
    ("c", "Client Hello"),
    ("s", "Server Hello"),
    ("s", "Certificate"),
    ("s", "Server Key Exchange"),
    ("s", "Certificate Request"),
    ("s", "Server Hello Done"),
    ("c", "Certificate"),
    ("c", "Client Key Exchange"),
    ("c", "Certificate Verify"),
    ("c", "Change Cipher Spec"),
    ("c", "Finished"),
    ("s", "Change Cipher Spec"),
    ("s", "Finished"),
    ("c", "Application Data"),
    ("s", "Application Data"),
]


@pytest.mark.parametrize("chunk", [None, 1, 7])
def test_mutual_tls_1_2(chunk):
    lines = words(conversation(ssl.TLSVersion.TLSv1_2), chunk)
    shown = [head for head in heads(lines) if head[1] != "New Session Ticket"]
    assert shown[: len(MUTUAL)] == MUTUAL
    assert ("c", "Alert") in shown and ("s", "Alert") in shown
    text = dict((head[1], text) for head, (_, text) in zip(heads(lines), lines, strict=True))
    assert "offers TLS 1.2, " in text["Client Hello"] and "asks for 'localhost' (SNI)" in text["Client Hello"]
    assert "chooses TLS 1.2 with TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384" in text["Server Hello"]
    assert "2 certificates, " in text["Certificate"]
    assert "the first for 'me', issued by 'Words CA'" in text["Certificate"]
    assert "signed by ECDSA with SHA-" in text["Server Key Exchange"]
    assert "close_notify where the end was orderly" in text["Alert"]


def test_tls_1_3_says_what_is_hidden():
    lines = words(conversation(ssl.TLSVersion.TLSv1_3))
    text = "\n".join(text for _, text in lines)
    assert "Server Hello: chooses TLS 1.3 with TLS_AES_256_GCM_SHA384, key exchange on X25519" in text
    assert "TLS 1.3 hides the rest: its certificate" in text
    assert "Certificate:" not in text
    assert "offers TLS 1.3" in lines[0][1]


def record(kind, payload, version=0x0303):
    return struct.pack("!BHH", kind, version, len(payload)) + payload


def test_an_alert_in_the_clear_is_said_in_words():
    lines = words([("client", record(21, b"\x02\x30"))])
    assert lines == [("client", "Alert, fatal: unknown_ca: the CA of the certificate is not trusted here")]


def test_what_is_not_tls():
    lines = words([("client", b"GET / HTTP/1.1\r\n\x1b[31m"), ("client", b"more")])
    assert lines == [
        ("client", "not TLS: it goes on with 'GET / HTTP/1.1??'; the rest of this direction is not explained")
    ]


def test_a_cut_is_told():
    whole = conversation(ssl.TLSVersion.TLSv1_2)[0][1]
    assert words([("client", whole[:-3])])[-1][1].startswith("cut off inside a message")


def test_an_end_without_close_notify_is_told():
    pieces = [piece for piece in conversation(ssl.TLSVersion.TLSv1_2) if piece[1][0] != 21]
    assert ("client", "no close_notify from this side before TCP ended") in words(pieces)


def test_a_bad_message_does_not_hide_the_next():
    bad = record(22, b"\x02\x00\x00\x02\x03\x03")
    lines = words([("server", bad + record(22, b"\x0e\x00\x00\x00"))])
    assert lines[0][1] == "Server Hello that cannot be read: it ends 32 bytes too soon"
    assert lines[1][1].startswith("Server Hello Done")


def test_names_cannot_drive_the_terminal():
    name = b"\x1b[2Jlocalhost"
    sni = struct.pack("!HBH", len(name) + 3, 0, len(name)) + name
    extension = struct.pack("!HH", 0, len(sni)) + sni
    hello = b"\x03\x03" + bytes(32) + b"\0" + b"\0\2\xc0\x2c" + b"\1\0" + struct.pack("!H", len(extension)) + extension
    text = words([("client", record(22, b"\1" + len(hello).to_bytes(3, "big") + hello))])[0][1]
    assert "asks for '?[2Jlocalhost' (SNI)" in text
    assert text.isprintable()


def test_a_stream_without_end_gives_few_lines_and_holds_few_bytes():
    talk = Conversation()
    lines = []
    for _ in range(1000):
        lines += talk.feed("server", record(21, b"\x01\x00") * 10, 0)
    assert len(lines) == 201
    talk = Conversation()
    begin = record(22, b"\x0b" + (1 << 16).to_bytes(3, "big") + bytes(16000))
    for _ in range(4):
        talk.feed("server", begin, 0)
    huge = words([("server", record(22, b"\x0b\xff\xff\xff"))])
    assert "longer than is read here" in huge[0][1]


def test_a_record_longer_than_any_is_not_tls():
    lines = words([("server", b"\x17\x03\x03\xff\xff" + bytes(100))])
    assert lines == [
        ("server", "not TLS: a record of 65,535 bytes is longer than any; the rest of this direction is not explained")
    ]


def handshake(kind, body):
    return record(22, bytes((kind,)) + len(body).to_bytes(3, "big") + body)


def server_hello(random, suite, extensions=b""):
    return handshake(2, b"\x03\x03" + random + b"\0" + suite + b"\0" + struct.pack("!H", len(extensions)) + extensions)


def test_a_pre_shared_key():
    lines = words([("server", server_hello(bytes(32), b"\x00\xa8")), ("client", handshake(16, b"\0\6pico-1"))])
    assert lines[0][1] == "Server Hello: chooses TLS 1.2 with TLS_PSK_WITH_AES_128_GCM_SHA256"
    assert lines[1][1] == "Client Key Exchange: the identity 'pico-1' of a pre-shared key"


def test_a_hello_retry_request():
    import hashlib

    extensions = b"\x00\x2b\x00\x02\x03\x04" + b"\x00\x33\x00\x02\x00\x17"
    text = words([("server", server_hello(hashlib.sha256(b"HelloRetryRequest").digest(), b"\x13\x01", extensions))])[0][
        1
    ]
    assert text == (
        "Hello Retry Request: the client must try again: TLS 1.3 with TLS_AES_128_GCM_SHA256, key exchange on P-256"
    )
