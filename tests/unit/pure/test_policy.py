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
    for name, value in changes.items():
        setattr(cert, name, value)
    return cert


def name(host, dns=("broker.example",), ips=()):
    """The code of the refusal of a certificate with these names, or None."""
    names = [bytes((x509.DNS_NAME, len(n))) + n.encode() for n in dns]
    der = b"".join(names + [bytes((x509.IP_ADDRESS, len(ip))) + ip for ip in ips])
    return code(policy.check_name, certificate(san=(0, len(der)), names=len(dns) + len(ips)), der, host)


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
    for host in ("127.0.0.256", "127.0.0", "127.0.0.01", "1.2.3.4.5", "a.b.c.d", "", "1..2.3", "127.0.0.1."):
        assert policy.ip_bytes(host) is None, host


def test_ip_bytes_of_ipv6():
    doc = b"\x20\x01\x0d\xb8"
    for host, expected in (
        ("::", bytes(16)),
        ("::1", bytes(15) + b"\x01"),
        ("1::", b"\0\x01" + bytes(14)),
        ("2001:db8::1", doc + bytes(11) + b"\x01"),
        ("2001:DB8:0:0:0:0:0:1", doc + bytes(11) + b"\x01"),
        ("2001:db8:1:2:3:4:5::", doc + b"\0\x01\0\x02\0\x03\0\x04\0\x05\0\0"),
        ("::ffff:10.1.2.3", bytes(10) + b"\xff\xff\x0a\x01\x02\x03"),
        ("1:2:3:4:5:6:7.8.9.10", b"\0\x01\0\x02\0\x03\0\x04\0\x05\0\x06\x07\x08\x09\x0a"),
    ):
        assert policy.ip_bytes(host) == expected, host
    for host in (
        ":", ":::", "1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7:8::", "::12345", "::g", "[::1]",
        "1.2.3.4::", "::1.2.3", "::1.2.3.4:1", "1:", ":1", "::+1", "::0x1", "fe80::1%eth0",
    ):  # fmt: skip
        assert policy.ip_bytes(host) is None, host


def test_the_leaf_names_the_host():
    assert name("broker.example") is None
    assert name("Broker.example.") is None
    assert name("BROKER.example", dns=["a.example", "*.net", "bRoker.Example"]) is None
    assert name("a.b.example", dns=["x", "*.b.example"]) is None
    assert name("other.example") == "CERT_NAME"
    assert name("example") == "CERT_NAME"
    assert name("me", dns=[]) == "CERT_NO_SAN"
    assert code(policy.check_name, certificate(), b"", "me") == "CERT_NO_SAN"


def test_addresses_only_by_ip_address():
    for host in ("10.0.0.1", "10.0.0.1."):
        assert name(host, dns=["10.0.0.1"]) == "CERT_IP_IN_DNS", host
        assert name(host, dns=["*.0.0.1"]) == "CERT_NAME", host
    assert name("10.0.0.1", ips=[b"\x0a\0\0\x01"]) is None
    assert name("10.0.0.1", dns=["10.0.0.1"], ips=[b"\x0a\0\0\x01"]) is None
    assert name("10.0.0.1", ips=[b"\x0a\0\0\x02"]) == "CERT_NAME"
    assert name("127.1", dns=["127.1"]) == "CERT_NAME"
    long = "a" * 64 + ".example.org"
    for host in ("1.2.3.4.5", "host.example.123", ".example.org", "a..example.org", "*.example.org", long):
        for pattern in (host, "*.example.org"):
            assert name(host, dns=[pattern]) == "CERT_NAME", host
    assert name("::1", dns=["::1"]) == "CERT_IP_IN_DNS"
    assert name("0:0::1", ips=[bytes(15) + b"\x01"]) is None
    # An IPv4 address and its IPv6 form are two addresses.
    assert name("::ffff:10.0.0.1", ips=[b"\x0a\0\0\x01"]) == "CERT_NAME"


def test_what_the_certificate_has_is_told():
    der = b"\x82\x07a\x1b.test\x87\x04\x0a\0\0\x01\x87\x10" + bytes(14) + b"\x12\x34"
    try:
        policy.check_name(certificate(san=(0, len(der)), names=3), der, "x.example")
    except RootletError as e:
        assert e.fact == "you asked for x.example, it is for a?.test, 10.0.0.1, 0:0:0:0:0:0:0:1234"
    else:
        raise AssertionError("accepted")


def test_the_leaf_may_serve():
    client = b"\x2b\x06\x01\x05\x05\x07\x03\x02"
    server = policy.check_server
    assert code(server, certificate()) is None
    assert code(server, certificate(eku=[client, x509.SERVER_AUTH])) is None
    for eku in ([client], [], [x509.ANY_USAGE]):
        assert code(server, certificate(eku=eku)) == "CERT_USAGE", eku
    assert code(server, certificate(key_usage=0xA0)) is None
    assert code(server, certificate(key_usage=0x20)) == "CERT_USAGE"  # keyEncipherment: RSA key exchange only
    assert code(server, certificate(is_ca=True)) == "CERT_USAGE"


def test_a_ca_between_may_issue_for_servers():
    client = b"\x2b\x06\x01\x05\x05\x07\x03\x02"
    for eku in (None, [x509.SERVER_AUTH], [client, x509.ANY_USAGE]):
        assert code(policy.check_intermediate, certificate(eku=eku)) is None, eku
    for eku in ([], [client]):
        assert code(policy.check_intermediate, certificate(eku=eku)) == "CERT_USAGE", eku


def test_path_length():
    def below(room, **changes):
        return policy.room_below(certificate(**changes), room)

    assert below(None) is None
    assert below(None, path_len=2) == 2
    assert below(3, path_len=1) == 1
    assert below(1, path_len=5) == 1
    other = NAME[:-2] + b"up"
    assert below(2, issuer=other) == 1
    assert below(2, issuer=other, path_len=0) == 0
    assert below(0) == 0  # self-issued: not counted
    assert code(policy.room_below, certificate(issuer=other), 0) == "CERT_CHAIN"
    assert code(policy.check_length, 7) is None
    assert code(policy.check_length, 8) == "CERT_CHAIN"


def test_extensions_that_cannot_be_honoured():
    assert code(policy.check_any, certificate(critical=b"\x2a\x03"), NOW) == "CERT_EXTENSION"
    assert code(policy.check_any, certificate(name_constrained=True), NOW) == "CERT_EXTENSION"


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
