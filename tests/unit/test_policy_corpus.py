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

import certifi
import pytest
import service_identity.cryptography as service_identity
from cryptography import x509
from cryptography.utils import CryptographyDeprecationWarning
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

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
    cas = [
        Spec(f"CA {i}", kind, i, ca=True, usage=CA_USAGE, aki=i > 0) for i in range(between + 1)
    ]
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

_PERMITS, _EXCLUDES = (
    x509.NameConstraints(permitted, excluded).public_bytes()
    for permitted, excluded in (([x509.DNSName("example.org")], None), (None, [x509.DNSName("example.org")]))
)
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
on_leaf("SAN critical", san_critical=True)
on_leaf("empty subject, SAN critical", subject=None, san_critical=True)
on_leaf("SAN empty", san=None, extra=[("2.5.29.17", b"\x30\x00", False)])
on_leaf("SAN twice", extra=[("2.5.29.17", x509.SubjectAlternativeName(dns("x.example")).public_bytes(), False)])
on_leaf("wrong name", san=dns("other.example.org"))
on_leaf("many names", san=dns(*(f"h{i}.example.org" for i in range(150)), HOST))
on_leaf("too many names", san=dns(*(f"h{i}.example.org" for i in range(250)), HOST))
on_leaf("PSS", kind="P-256", signer=None, digest="SHA256")


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
        "path lengths just right": lambda c: constrained_by(len(c.cas) - 1)(c),
        "path lengths one too small": lambda c: constrained_by(len(c.cas) - 2)(c),
        "root sent along": arranged(lambda leaf, between, root: [leaf, *between, root]),
        "out of order": arranged(lambda leaf, between, root: [leaf, *between[::-1]]),
        "intermediates missing": arranged(lambda leaf, between, root: [leaf]),
        "top intermediate missing": arranged(lambda leaf, between, root: [leaf, *between[:-1]]),
        "stranger sent first": arranged(lambda leaf, between, root: [leaf, stranger(), *between]),
        "everything twice": arranged(lambda leaf, between, root: [leaf, leaf, *between, *between]),
        "garbage sent last": arranged(lambda leaf, between, root: [leaf, *between, leaf[:-9]]),
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
    dice = random.Random(5280)  # noqa: S311
    for _ in range(1500):
        case = sound(dice.choice((0, 1, 1, 2)), "P-256")
        case.names = dice.sample(list(MUTATIONS), 2)
        for name in case.names:
            MUTATIONS[name](case)
        yield case


def make(case: Case) -> tuple[list[bytes], list[bytes]]:
    """(what the server sends, the roots that are trusted), DER each."""
    for spec in (*case.cas, case.leaf):
        signer = spec.signer or spec.key
        if spec.digest == "SHA224" and spec is case.cas[0]:
            assert signer
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


def survey() -> tuple[int, dict[tuple[str, ...], list[tuple[str | None, str | None]]]]:
    differences: dict = {}
    count = 0
    for case in cases():
        try:
            sent, roots = make(case)
        except (KeyError, ValueError) as e:
            raise AssertionError((case.names, e))
        count += 1
        a, b = ours(sent, roots, case.host), theirs(sent, roots, case.host)
        if (a is None) != (b is None):
            differences.setdefault(tuple(case.names), []).append((a, b))
    return count, differences


def test_x():
    import time
    t = time.time()
    n, d = survey()
    print(n, time.time() - t)
    for k, v in d.items():
        if len(k) == 1:
            print(k, len(v), sorted(set((a, (b or "")[:110]) for a, b in v), key=str))
