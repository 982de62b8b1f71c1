"""The policy against two other implementations, over thousands of chains, each wrong in one way or two, or right.

`cryptography` judges whole chains, `service-identity` judges names. Where they and the policy differ, the difference is
a row of a table below, with its reason; docs/policy.md has the same rows in words.
"""

import datetime
import ipaddress
import itertools
import random
import re
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import pytest
import service_identity.cryptography as service_identity
from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError
from service_identity import CertificateError
from service_identity import VerificationError as VerificationFailed

from host_tools.paths import ROOT
from rootlet import policy
from rootlet import x509 as reader
from rootlet.errors import RootletError
from rootlet.judge import Judge
from rootlet.trust import Trust
from tests import forge
from tests.forge import SERVER, Spec, usage

NOW = datetime.datetime(2026, 6, 1, 12, 0, 0, tzinfo=datetime.UTC)
SECOND = datetime.timedelta(seconds=1)
CLIENT, ANY = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE
HOST = "host.example.org"
CA_USAGE = usage("key_cert_sign", "crl_sign")


@dataclass
class Case:
    """A chain to be made. cas: the root first. arrange: what the server sends, from (leaf, CAs nearest first, root)."""

    host: str
    cas: list[Spec]
    leaf: Spec
    arrange: Callable[[bytes, list[bytes], bytes], list[bytes]] = lambda leaf, between, root: [leaf, *between]
    trusts: Callable[[bytes, list[bytes], bytes], list[bytes]] = lambda leaf, between, root: [root]
    names: list[str] = field(default_factory=list)


def sound(between: int, kind: str) -> Case:
    """A chain nobody objects to, with so many CAs between root and leaf."""
    cas = [Spec(f"CA {i}", kind, i, ca=True, usage=CA_USAGE, aki=i > 0) for i in range(between + 1)]
    names: list[x509.GeneralName] = [x509.DNSName(HOST)]
    return Case(HOST, cas, Spec("leaf", kind, 9, usage=usage("digital_signature"), eku=[SERVER], san=names))


def dns(*names: str) -> list[x509.GeneralName]:
    return [x509.DNSName(name) for name in names]


def ip(*texts: str) -> list[x509.GeneralName]:
    return [x509.IPAddress(ipaddress.ip_address(text)) for text in texts]


Mutation = Callable[[Case], object]
MUTATIONS: dict[str, Mutation] = {"none": lambda c: None}


def on_leaf(name: str, **changes: object) -> None:
    MUTATIONS["leaf: " + name] = lambda c: [setattr(c.leaf, k, v) for k, v in changes.items()]


def on_middle(name: str, **changes: object) -> None:
    """The lowest CA that is no root; a chain that has none stays as it is."""
    MUTATIONS["middle: " + name] = lambda c: [setattr(c.cas[-1], k, v) for k, v in changes.items() if len(c.cas) > 1]


def on_root(name: str, **changes: object) -> None:
    MUTATIONS["root: " + name] = lambda c: [setattr(c.cas[0], k, v) for k, v in changes.items()]


def on_each(name: str, **changes: object) -> None:
    for place in (on_leaf, on_middle, on_root):
        place(name, **changes)


def on_cas(name: str, **changes: object) -> None:
    for place in (on_middle, on_root):
        place(name, **changes)


for _name, _changes in {
    "expired": {"end": NOW - SECOND}, "ends now": {"end": NOW}, "not yet valid": {"start": NOW + SECOND},
    "starts now": {"start": NOW}, "far end": {"end": NOW.replace(year=2060)},
    "short year before 1950": {"start": NOW.replace(year=1950)},
    "GeneralizedTime before 2050": {"general_time": True},
    "v1": {"version": 1}, "v2": {"version": 2}, "v4": {"version": 4},
    "P-384": {"kind": "P-384"}, "P-521": {"kind": "P-521"}, "RSA-2048": {"kind": "RSA-2048"},
    "RSA-1024": {"kind": "RSA-1024"}, "RSA-2040": {"kind": "RSA-2040"}, "secp256k1": {"kind": "k1"},
    "Ed25519": {"kind": "Ed25519"},
    "SHA-384": {"digest": "SHA384"}, "SHA-512": {"digest": "SHA512"}, "SHA-1": {"digest": "SHA1"},
    "SHA-224": {"digest": "SHA224"},
    "algorithms differ": {"inner_digest": "SHA384"}, "spoilt signature": {"spoil": True},
    "signed by a stranger": {"signer": forge.key("P-256", 99)}, "issuer of another name": {"issuer": "Stranger"},
    "serial 0": {"serial": 0}, "serial below 0": {"serial": -5}, "serial of 21 octets": {"serial": 1 << 161},
    "no SKI": {"ski": False}, "no AKI": {"aki": False},
    "unknown critical extension": {"extra": [("1.3.6.1.4.1.99999.1", b"\x05\x00", True)]},
    "unknown extension": {"extra": [("1.3.6.1.4.1.99999.1", b"\x05\x00", False)]},
    "critical policies": {"extra": [("2.5.29.32", b"\x30\x06\x30\x04\x06\x02\x2a\x03", True)]},
    "policies": {"extra": [("2.5.29.32", b"\x30\x06\x30\x04\x06\x02\x2a\x03", False)]},
    "extension twice": {"extra": [("2.5.29.32", b"\x30\x06\x30\x04\x06\x02\x2a\x03", False)] * 2},
    "basicConstraints twice": {"extra": [("2.5.29.19", b"\x30\x00", True)]},
    "EKU: none": {"eku": None}, "EKU: server": {"eku": [SERVER]}, "EKU: client": {"eku": [CLIENT]},
    "EKU: any": {"eku": [ANY]}, "EKU: client, server": {"eku": [CLIENT, SERVER]},
    "keyUsage: none": {"usage": None}, "keyUsage: digitalSignature": {"usage": usage("digital_signature")},
    "keyUsage: digitalSignature, keyCertSign": {"usage": usage("digital_signature", "key_cert_sign")},
    "keyUsage: keyEncipherment": {"usage": usage("key_encipherment")},
    "keyUsage: keyAgreement": {"usage": usage("key_agreement")},
    "keyUsage: cRLSign": {"usage": usage("crl_sign")},
    "no basicConstraints": {"ca": None}, "basicConstraints not critical": {"ca_critical": False},
    "empty subject": {"subject": None},
}.items():  # fmt: skip
    on_each(_name, **_changes)

_ALL = [x509.IPAddress(ipaddress.ip_network(net)) for net in ("0.0.0.0/0", "::/0")]
_PERMITS = x509.NameConstraints([x509.DNSName("example.org")], None).public_bytes()
_EXCLUDES = x509.NameConstraints(None, [x509.DNSName("example.org"), *_ALL]).public_bytes()
for _name, _changes in {
    "not a CA": {"ca": False}, "path length 0": {"path_len": 0}, "path length 1": {"path_len": 1},
    "path length 2": {"path_len": 2}, "path length 70000": {"path_len": 70000},
    "name constraints permit": {"extra": [("2.5.29.30", _PERMITS, True)]},
    "name constraints exclude": {"extra": [("2.5.29.30", _EXCLUDES, True)]},
    "name constraints permit, not critical": {"extra": [("2.5.29.30", _PERMITS, False)]},
    "name constraints exclude, not critical": {"extra": [("2.5.29.30", _EXCLUDES, False)]},
    "critical policyConstraints": {"extra": [("2.5.29.36", b"\x30\x03\x80\x01\x00", True)]},
}.items():  # fmt: skip
    on_cas(_name, **_changes)

on_leaf("a CA", ca=True)
on_leaf("a CA with keyCertSign", ca=True, usage=usage("digital_signature", "key_cert_sign"))
on_leaf("no SAN", san=None)
on_leaf("no SAN, common name is the host", san=None, subject=HOST)
on_leaf("SAN with e-mail only", san=[x509.RFC822Name("a@host.example.org")])
on_leaf("41 extensions", extra=[(f"1.2.3.{i}", b"\x05\0", False) for i in range(35)])
on_leaf("SAN critical", san_critical=True)
on_leaf("empty subject, SAN critical", subject=None, san_critical=True)
on_leaf("SAN empty", san=None, extra=[("2.5.29.17", b"\x30\x00", False)])
on_leaf("SAN twice", extra=[("2.5.29.17", x509.SubjectAlternativeName(dns("x.example")).public_bytes(), False)])
on_leaf("wrong name", san=dns("other.example.org"))
on_leaf("many names", san=dns(*(f"h{i}.example.org" for i in range(150)), HOST))
on_leaf("hundreds of names", san=dns(*(f"h{i}.example.org" for i in range(250)), HOST))


def by_address(host: str, san: list[x509.GeneralName]) -> Mutation:
    def change(case: Case) -> None:
        case.host, case.leaf.san = host, san

    return change


for _name, _host, _san in (
    ("IPv4 by iPAddress", "10.1.2.3", ip("10.1.2.3")),
    ("IPv4, another iPAddress", "10.1.2.3", ip("10.1.2.4")),
    ("IPv4 in dNSName", "10.1.2.3", dns("10.1.2.3")),
    ("IPv4 by wildcard", "10.1.2.3", dns("*.1.2.3")),
    ("IPv6 by iPAddress", "2001:db8::7", ip("2001:db8::7")),
    ("IPv6, written long", "2001:DB8:0:0:0:0:0:7", ip("2001:db8::7")),
    ("IPv6, another iPAddress", "2001:db8::7", ip("2001:db8::8")),
    ("IPv6 in dNSName", "::1", dns("::1")),
    ("IPv4 mapped", "::ffff:10.1.2.3", ip("10.1.2.3")),
):
    MUTATIONS[_name] = by_address(_host, _san)


def long_chain(count: int) -> Mutation:
    def change(case: Case) -> None:
        kind = case.leaf.kind
        case.cas = sound(count, kind if kind.startswith(("P-", "RSA-2048")) else "P-256").cas

    return change


for _count in range(3, 11):
    MUTATIONS[f"chain of {_count + 2}"] = long_chain(_count)


def self_issued(case: Case) -> None:
    """A CA renews its key: the same name above and below, which path length does not count."""
    if len(case.cas) > 1:
        case.cas[0].path_len = len(case.cas) - 2
        case.cas[-1].subject = case.cas[-2].subject


def constrained_by(length: int) -> Mutation:
    def change(case: Case) -> None:
        for i, ca in enumerate(case.cas):
            ca.path_len = max(0, length - i)

    return change


def signed_under_rsa(case: Case, digest: str) -> None:
    case.cas[-1].kind, case.leaf.digest = "RSA-2048", digest


def arranged(how: Callable[[bytes, list[bytes], bytes], list[bytes]]) -> Mutation:
    return lambda case: setattr(case, "arrange", how)


def trusting(how: Callable[[bytes, list[bytes], bytes], list[bytes]]) -> Mutation:
    return lambda case: setattr(case, "trusts", how)


def stranger() -> bytes:
    spec = Spec("Stranger", "P-256", 98, ca=True, usage=CA_USAGE, aki=False)
    return forge.issue(spec, spec)


MUTATIONS.update(
    {
        "self-issued CA": self_issued,
        "leaf: PSS": lambda c: signed_under_rsa(c, "PSS"),
        "leaf: MD5": lambda c: signed_under_rsa(c, "MD5"),
        "leaf: RSA SHA-1": lambda c: signed_under_rsa(c, "SHA1"),
        "path lengths just right": lambda c: constrained_by(len(c.cas) - 1)(c),
        "path lengths one too small": lambda c: constrained_by(len(c.cas) - 2)(c),
        "root sent along": arranged(lambda leaf, between, root: [leaf, *between, root]),
        "out of order": arranged(lambda leaf, between, root: [leaf, *between[::-1]]),
        "intermediates missing": arranged(lambda leaf, between, root: [leaf]),
        "top intermediate missing": arranged(lambda leaf, between, root: [leaf, *between[:-1]]),
        "stranger sent first": arranged(lambda leaf, between, root: [leaf, stranger(), *between]),
        "everything twice": arranged(lambda leaf, between, root: [leaf, leaf, *between, *between]),
        "root not trusted": trusting(lambda leaf, between, root: [stranger()]),
        "two roots trusted": trusting(lambda leaf, between, root: [stranger(), root]),
        "intermediate trusted": trusting(lambda leaf, between, root: between[:1] or [root]),
        "leaf trusted": trusting(lambda leaf, between, root: [leaf]),
    }
)


def cases() -> Iterator[Case]:
    """Every mutation on every shape, then pairs of mutations."""
    for between, kind in itertools.product((0, 1, 2), ("P-256", "RSA-2048")):
        for name, change in MUTATIONS.items():
            case = sound(between, kind)
            change(case)
            case.names = [name]
            yield case
    dice = random.Random(5280)
    for _ in range(2000):
        case = sound(dice.choice((0, 1, 1, 2)), "P-256")
        case.names = dice.sample(list(MUTATIONS), 2)
        for name in case.names:
            MUTATIONS[name](case)
        yield case


def make(case: Case) -> tuple[list[bytes], list[bytes]]:
    """(what the server sends, the roots that are trusted), DER each."""
    made = []
    above = case.cas[0]
    for spec in case.cas:
        made.append(forge.issue(spec, above))
        above = spec
    leaf = forge.issue(case.leaf, above)
    root, between = made[0], made[:0:-1]
    return case.arrange(leaf, between, root), case.trusts(leaf, between, root)


def chain_as_mbedtls(sent: list[bytes], roots: list[bytes]) -> tuple[list[bytes], bool]:
    """(chain from the leaf up, whether it ends in a root). Built as Mbed TLS does it: roots first, then only forward
    through what was sent; by name and signature alone, so that everything else is left to the policy."""
    chain, place = [sent[0]], 0
    if sent[0] in roots:
        return chain, True
    while len(chain) < 12:
        issuer = reader.parse(chain[-1]).issuer
        for root in roots:
            if reader.parse(root).subject == issuer and forge.signed_by(chain[-1], root):
                return [*chain, root], True
        for i in range(place + 1, len(sent)):
            try:
                if reader.parse(sent[i]).subject == issuer and forge.signed_by(chain[-1], sent[i]):
                    chain.append(sent[i])
                    place = i
                    break
            except reader.Malformed:
                continue
        else:
            return chain, False
    return chain, False


def ours(sent: list[bytes], roots: list[bytes], host: str) -> str | None:
    """The firmware's verdict: None, or the code of its refusal."""
    now = int(NOW.timestamp())
    judge = Judge(host, Trust(roots, lambda: now), now)
    try:
        chain, anchored = chain_as_mbedtls(sent, roots)
    except reader.Malformed:
        return "CERT_MALFORMED"
    for depth in range(len(chain) - 1, -1, -1):
        if judge(memoryview(chain[depth]), depth):
            return judge.fault.code
    return None if anchored and judge.leaf_seen else judge.untrusted().code


def theirs(sent: list[bytes], roots: list[bytes], host: str) -> str | None:
    """The verdict of `cryptography`: None, or its words."""
    try:
        subject = x509.IPAddress(ipaddress.ip_address(host))
    except ValueError:
        try:
            subject = x509.DNSName(host)
        except ValueError as e:
            return str(e)
    try:
        leaf, *between = (x509.load_der_x509_certificate(der) for der in sent)
        store = Store([x509.load_der_x509_certificate(der) for der in roots])
        builder = PolicyBuilder().store(store).time(NOW.replace(tzinfo=None))
        builder.build_server_verifier(subject).verify(leaf, between)
    except (VerificationError, ValueError, x509.InvalidVersion, x509.DuplicateExtension) as e:
        return str(e)
    return None


# Where the verdicts on a chain differ: the mutations, our code (None: we accept), why. docs/policy.md has each reason.
EACH = ("leaf", "middle", "root")
DIFFERENCES: list[tuple[list[str], str | None, str]] = [
    (
        [f"{place}: {what}" for place in EACH for what in ("GeneralizedTime before 2050", "serial below 0")],
        None,
        "A date or a serial number in an encoding that RFC 5280 forbids to CAs is still read: it has one meaning only.",
    ),
    (
        ["leaf: no AKI"],
        None,
        "A key identifier that is absent hinders nobody: issuers are found by name and proved by their signature.",
    ),
    (
        ["middle: keyUsage: none", "root: keyUsage: none", *(f"{p}: basicConstraints not critical" for p in EACH[1:])],
        None,
        "A CA without keyUsage, or with basicConstraints not marked critical, is a CA: RFC 5280 validates no more.",
    ),
    (
        ["leaf: keyUsage: digitalSignature, keyCertSign"],
        None,
        "A leaf with the keyCertSign bit is still no CA, as basicConstraints says so: it cannot issue.",
    ),
    (
        ["leaf: empty subject", "leaf: SAN critical", "middle: empty subject", "root: empty subject"],
        None,
        "An empty subject, and whether the SAN is critical, change nothing: only the SAN is compared.",
    ),
    (
        ["root: EKU: client", "intermediate trusted + middle: EKU: client"],
        None,
        "The extended key usage of a trusted root is not read: whoever embeds a root trusts it for servers.",
    ),
    (
        ["self-issued CA"],
        None,
        "A self-issued CA certificate does not count for the path length, as RFC 5280 section 6.1.4 (l) has it.",
    ),
    (
        ["leaf: RSA-1024", *(f"{p}: RSA-2040" for p in EACH), "leaf: secp256k1", "leaf: Ed25519"],
        "CERT_WEAK_KEY",
        "Keys are judged in the leaf too, to the bit: RSA of 2,048 bits or more, P-256, P-384 or P-521.",
    ),
    (
        [f"leaf: keyUsage: {what}" for what in ("keyEncipherment", "keyAgreement", "cRLSign")],
        "CERT_USAGE",
        "A leaf that has keyUsage must have digitalSignature, since every ECDHE handshake is signed.",
    ),
    (
        [f"{p}: name constraints permit{end}" for p in EACH[1:] for end in ("", ", not critical")],
        "CERT_EXTENSION",
        "Name constraints are refused rather than honoured: Mbed TLS does not know them.",
    ),
    (
        ["leaf: 41 extensions"],
        "CERT_MALFORMED",
        "At most 40 extensions are read from one certificate: memory is bounded.",
    ),
    (
        ["leaf: PSS"],
        "CERT_WEAK_SIGNATURE",
        "RSA-PSS signatures are refused: the stock firmware of boards cannot check them.",
    ),
    (["chain of 9", "chain of 10"], "CERT_CHAIN", "At most 8 certificates make a chain, with leaf and root."),
    (
        ["out of order"],
        "CERT_UNKNOWN_CA",
        "Certificates out of order are not sorted: RFC 5246 demands the order, Mbed TLS only looks forward.",
    ),
]
ROWS = {name: code for names, code, _ in DIFFERENCES for name in names}
LISTED = {name: code for name, code in ROWS.items() if " + " not in name}
TOGETHER = {tuple(name.split(" + ")): code for name, code in ROWS.items() if " + " in name}
Verdicts = list[tuple[Case, str | None, str | None]]


@pytest.fixture(scope="module")
def verdicts() -> Verdicts:
    """(case, our code or None, their words or None) of each chain."""
    out = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CryptographyDeprecationWarning)
        for case in cases():
            sent, roots = make(case)
            out.append((case, ours(sent, roots, case.host), theirs(sent, roots, case.host)))
    return out


def test_sound_chains_are_accepted_by_both(verdicts: Verdicts) -> None:
    sound_ones = [(a, b) for case, a, b in verdicts if case.names == ["none"]]
    assert len(sound_ones) == 6
    assert set(sound_ones) == {(None, None)}


def test_one_change_each_and_the_table_agree(verdicts: Verdicts) -> None:
    """No difference that is not listed, and no row that is not a difference."""
    found = {(case.names[0], a) for case, a, b in verdicts if len(case.names) == 1 and (a is None) != (b is None)}
    listed = set(LISTED.items())
    assert found == listed, f"not listed: {sorted(found - listed, key=str)}; no more: {sorted(listed - found, key=str)}"


def test_two_changes_bring_nothing_new(verdicts: Verdicts) -> None:
    """Where two changes make a difference, one of them is a row that says so, or both together are."""
    pairs = [(tuple(sorted(case.names)), a, b) for case, a, b in verdicts if len(case.names) == 2]
    assert len(pairs) >= 2000
    differ = [(names, a, b) for names, a, b in pairs if (a is None) != (b is None)]
    new = [row for row in differ if all(LISTED.get(name, "") != row[1] for name in row[0])]
    assert {(names, a) for names, a, _ in new} == set(TOGETHER.items()), "\n".join(map(str, new[:20]))


def test_the_corpus_is_large_and_reaches_every_refusal(verdicts: Verdicts) -> None:
    assert len(verdicts) >= 2000
    accepted = sum(a is None for _, a, _ in verdicts)
    assert 500 < accepted < len(verdicts) - 500
    assert {a for _, a, _ in verdicts if a} == {
        "CERT_CHAIN", "CERT_EXPIRED", "CERT_EXTENSION", "CERT_INCOMPLETE", "CERT_IP_IN_DNS", "CERT_MALFORMED",
        "CERT_NAME", "CERT_NOT_YET_VALID", "CERT_NO_SAN", "CERT_UNKNOWN_CA", "CERT_USAGE", "CERT_WEAK_KEY",
        "CERT_WEAK_SIGNATURE",
    }  # fmt: skip


PATTERNS = [
    HOST, "HOST.Example.ORG", "example.org", "org", "localhost", "*.example.org", "*.Example.org", "*.org", "*", "*.",
    "*.*.example.org", "*.*.org", "h*.example.org", "*t.example.org", "h*t.example.org", "host.*.org", "host.example.*",
    "*host.example.org", "**.example.org", "a.*.example.org", "host.example.org.", "*.example.org.", ".example.org",
    "host..example.org", "xn--bcher-kva.example.org", "xn--*.example.org", "*.xn--bcher-kva.example", "10.1.2.3",
    "*.2.3", "*.1.2.3", "127.1", "1.2.3.4.5", "host_1.example.org", "-host.example.org", "host-.example.org",
    " host.example.org", "host.example.org ", "host.example.org:443", "https://host.example.org",
    "a" * 63 + ".example.org", "a" * 64 + ".example.org", "3com.example.org", "host.example.123", "0x7f.1", "*.co.uk",
    "*.a.b.example.org", "", ".", "::1", "host.example.org\0.example.net", "xhost.example.org", "host.example.orgx",
]  # fmt: skip
HOSTS = [
    HOST, "HOST.EXAMPLE.ORG", "host.example.org.", "example.org", "a.host.example.org", "a.b.example.org", "org",
    "localhost", "localhost.", "com.org", "x.org", "xn--bcher-kva.example.org", "x.xn--bcher-kva.example", "10.1.2.3",
    "10.1.2.3.", "127.1", "1.2.3.4.5", "host_1.example.org", "-host.example.org", "host-.example.org",
    "a" * 63 + ".example.org", "a" * 64 + ".example.org", "3com.example.org", "host.example.123", "0x7f.1",
    "*.example.org", ".example.org", "host..example.org", "", "..", ".", "bbc.co.uk", "hit.example.org", "::1",
    "2130706433", "host.example.net", "example.net", "b.a.b.example.org",
]  # fmt: skip
ADDRESSES = ["10.1.2.3", "10.1.2.4", "127.0.0.1", "2001:db8::7", "::1", "::ffff:10.1.2.3", "::10.1.2.3", "fe80::1"]
ASKED = [
    *ADDRESSES, "2001:DB8::7", "2001:db8:0:0:0:0:0:7", "2001:0db8:0000:0000:0000:0000:0000:0007", "0:0:0:0:0:0:0:1",
    "::ffff:0a01:0203", "::0a01:0203", "10.1.2.5", "10.01.2.3", "10.1.515",
]  # fmt: skip

# Where the verdicts on a name differ: who from, which (dNSName, host), whether we accept, why.
NAME_DIFFERENCES: list[tuple[str, Callable[[str, str], bool], bool, str]] = [
    (
        "cryptography, service-identity",
        lambda p, h: h.endswith("."),
        True,
        "A dot at the end of the host is taken off, as DNS means it, so that `broker.example.` is `broker.example`.",
    ),
    (
        "service-identity",
        lambda p, h: p.startswith("*.") and h.startswith("xn--"),
        True,
        "A wildcard stands for any label, also for an internationalised one (RFC 9525 section 6.3).",
    ),
    (
        "cryptography",
        lambda p, h: "_" in h or h.startswith("-") or "-." in h,
        True,
        "A host with an underscore, or a hyphen at the edge of a label, is compared as it is: private names have them.",
    ),
    (
        "cryptography",
        lambda p, h: p == "*.org",
        False,
        "A wildcard needs two labels after it: `*.org` covers nothing.",
    ),
    (
        "cryptography, service-identity",
        lambda p, h: p == h and h.split(".")[-1].isdigit(),
        False,
        "A host that ends in a number is an address to some resolvers, so it is no name: `127.1` matches nothing.",
    ),
    (
        "service-identity",
        lambda p, h: " " in p or p.endswith(".") or h.startswith(".") or ".." in h or len(h.split(".")[0]) > 63,
        False,
        "A dNSName or a host that is no DNS name (spaces, empty labels, 64 characters in one) matches nothing.",
    ),
]


def name_verdicts() -> Iterator[tuple[str, str, bool, bool, bool]]:
    """(dNSName or address in the certificate, host, we accept, `cryptography` accepts, `service-identity` accepts)."""
    rows = [([x509.DNSName(p)], p, HOSTS) for p in PATTERNS] + [(ip(a), a, [*ASKED, HOST]) for a in ADDRESSES]
    for names, shown, hosts in rows:
        case = sound(0, "P-256")
        case.leaf.san = list(names)
        sent, roots = make(case)
        cert, loaded = reader.parse(sent[0]), x509.load_der_x509_certificate(sent[0])
        for host in hosts:
            try:
                policy.check_name(cert, sent[0], host)
                accepted = True
            except RootletError:
                accepted = False
            yield shown, host, accepted, theirs(sent, roots, host) is None, identity_accepts(loaded, host)


def identity_accepts(cert: x509.Certificate, host: str) -> bool:
    try:
        try:
            ipaddress.ip_address(host)
        except ValueError:
            service_identity.verify_certificate_hostname(cert, host)
        else:
            service_identity.verify_certificate_ip_address(cert, host)
    except (VerificationFailed, CertificateError, ValueError):
        return False
    return True


def test_names_and_their_table_agree() -> None:
    unlisted, used, count, accepted = [], set(), 0, 0
    for pattern, host, ours_, crypto, identity in name_verdicts():
        count += 1
        accepted += ours_
        for who, verdict in (("cryptography", crypto), ("service-identity", identity)):
            if verdict == ours_:
                continue
            rows = [(i, who) for i, (whose, fits, verdict_, _) in enumerate(NAME_DIFFERENCES)
                    if who in whose and verdict_ == ours_ and fits(pattern, host)]  # fmt: skip
            used.update(rows)
            if not rows:
                unlisted.append((who, pattern, host, "we accept" if ours_ else "we refuse"))
    assert not unlisted, "\n".join(map(str, unlisted))
    assert count > 2000
    assert accepted > 50
    listed = {(i, who) for i, row in enumerate(NAME_DIFFERENCES) for who in row[0].split(", ")}
    assert listed == used, f"no difference any more: {[(NAME_DIFFERENCES[i][3], who) for i, who in listed - used]}"


def test_the_page_tells_every_reason() -> None:
    page = re.sub(r"\s+", " ", (ROOT / "docs" / "policy.md").read_text())
    missing = [row[-1] for row in (*DIFFERENCES, *NAME_DIFFERENCES) if str(row[-1]) not in page]
    assert not missing, "\n".join(map(str, missing))
