"""policy: names as RFC 9525 has them, dates, keys, usages; each refusal with its code."""

from rootlet import policy, x509
from rootlet.errors import RootletError

NOW = 1795239001
NAME = bytes((0x30, 0x0D, 0x31, 0x0B, 0x30, 0x09, 0x06, 0x03, 0x55, 0x04, 0x03, 0x0C, 0x02)) + b"me"


def certificate(**changes):
    cert = x509.Certificate()
    cert.version = 3
    cert.subject = cert.issuer = NAME
    cert.not_before, cert.not_after = NOW - 100, NOW + 100
    cert.key = ("EC", "P-256")
    cert.signature = "SHA256-ECDSA"
    cert.has_san = True
    cert.dns = ["broker.example"]
    for name, value in changes.items():
        setattr(cert, name, value)
    return cert


def code(function, *args):
    try:
        function(*args)
    except RootletError as e:
        return e.code
    return None


def test_names():
    for pattern, host, expected in (
        ("broker.example", "broker.example", True),
        ("Broker.Example", "bROKER.eXAMPLE", True),
        ("broker.example", "broker.example.", True),
        ("broker.example", "a.broker.example", False),
        ("*.example.org", "a.example.org", True),
        ("*.example.org", "a.b.example.org", False),
        ("*.example.org", "example.org", False),
        ("*.example.org", ".example.org", False),
        ("*", "localhost", False),
        ("*.", "localhost.", False),
        ("*.org", "example.org", False),
        ("a*.example.org", "ab.example.org", False),
        ("a.*.org", "a.b.org", False),
        ("*.*.org", "a.b.org", False),
        ("", "", False),
        ("", ".", False),
    ):
        assert policy.name_matches(pattern, host) is expected, (pattern, host)


def test_ip_bytes():
    assert policy.ip_bytes("127.0.0.1") == b"\x7f\0\0\x01"
    for host in ("127.0.0.256", "127.0.0", "127.0.0.01", "1.2.3.4.5", "a.b.c.d", "", "1..2.3"):
        assert policy.ip_bytes(host) is None, host


def test_the_leaf_names_the_host():
    assert code(policy.check_server, certificate(), "broker.example") is None
    assert code(policy.check_server, certificate(), "other.example") == "CERT_NAME"
    assert code(policy.check_server, certificate(dns=[], has_san=False), "me") == "CERT_NO_SAN"
    assert code(policy.check_server, certificate(dns=[]), "me") == "CERT_NO_SAN"
    assert code(policy.check_server, certificate(dns=["10.0.0.1"]), "10.0.0.1") == "CERT_IP_IN_DNS"
    assert code(policy.check_server, certificate(ips=[b"\x0a\0\0\x01"]), "10.0.0.1") is None
    assert code(policy.check_server, certificate(ips=[b"\x0a\0\0\x02"]), "10.0.0.1") == "CERT_NAME"


def test_the_leaf_may_serve():
    assert code(policy.check_server, certificate(eku=[x509.SERVER_AUTH]), "broker.example") is None
    assert (
        code(policy.check_server, certificate(eku=[b"\x2b\x06\x01\x05\x05\x07\x03\x02"]), "broker.example")
        == "CERT_USAGE"
    )
    assert code(policy.check_server, certificate(eku=[]), "broker.example") == "CERT_USAGE"


def test_dates_and_their_edges():
    assert code(policy.check_any, certificate(not_after=NOW), NOW) is None
    assert code(policy.check_any, certificate(not_after=NOW - 1), NOW) == "CERT_EXPIRED"
    assert code(policy.check_any, certificate(not_before=NOW), NOW) is None
    assert code(policy.check_any, certificate(not_before=NOW + 1), NOW) == "CERT_NOT_YET_VALID"


def test_keys_and_versions():
    for key, expected in (
        (("RSA", 2048), None),
        (("RSA", 2047), "CERT_WEAK_KEY"),
        (("RSA", 1024), "CERT_WEAK_KEY"),
        (("EC", "P-384"), None),
        (("EC", "unknown"), "CERT_WEAK_KEY"),
        (("other", 0), "CERT_WEAK_KEY"),
    ):
        assert code(policy.check_any, certificate(key=key), NOW) == expected, key
    assert code(policy.check_any, certificate(version=1), NOW) == "CERT_MALFORMED"


def test_signatures():
    for name in ("SHA256-RSA", "SHA384-ECDSA", "SHA512-RSA"):
        assert code(policy.check_signature, certificate(signature=name)) is None, name
    for name in ("SHA1-RSA", "MD5-RSA", "SHA1-ECDSA", "Ed25519", "unknown", ""):
        assert code(policy.check_signature, certificate(signature=name)) == "CERT_WEAK_SIGNATURE", name


def test_only_a_ca_may_sign():
    assert code(policy.check_ca, certificate()) == "CERT_USAGE"
    assert code(policy.check_ca, certificate(is_ca=True)) is None
    assert code(policy.check_ca, certificate(is_ca=True, key_usage=0x06)) is None
    assert code(policy.check_ca, certificate(is_ca=True, key_usage=0x80)) == "CERT_USAGE"
