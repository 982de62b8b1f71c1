"""Turns what people type (subjects, host names, device ids, dates) into X.509 values, with clear refusals."""

import ipaddress
import re
from collections.abc import Callable, Iterable
from datetime import UTC, datetime

import idna
from cryptography import x509
from cryptography.x509.oid import NameOID

from host_tools.failure import Exit, Failure

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

# Longest values in characters: RFC 5280 appendix A.1 (ub-...); domainComponent is a DNS label.
_ATTRIBUTES = {
    "C": (NameOID.COUNTRY_NAME, 2),
    "ST": (NameOID.STATE_OR_PROVINCE_NAME, 128),
    "L": (NameOID.LOCALITY_NAME, 128),
    "O": (NameOID.ORGANIZATION_NAME, 64),
    "OU": (NameOID.ORGANIZATIONAL_UNIT_NAME, 64),
    "CN": (NameOID.COMMON_NAME, 64),
    "DC": (NameOID.DOMAIN_COMPONENT, 63),
    "serialNumber": (NameOID.SERIAL_NUMBER, 64),
    "emailAddress": (NameOID.EMAIL_ADDRESS, 255),
}
_BY_LOWER = {name.lower(): name for name in _ATTRIBUTES}
_PART = re.compile(r"/((?:\\.|[^/\\])*)", re.DOTALL)
_SUBJECT = re.compile(f"({_PART.pattern})+", re.DOTALL)
_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_DEVICE = re.compile(r"[A-Za-z0-9._-]{1,48}")


def parse_subject(text: str) -> x509.Name:
    r"""A distinguished name from openssl's slash form, such as `/C=FR/O=Acme/CN=Acme root`.

    A slash inside a value is written `\/`, a backslash `\\`; `+` is an ordinary character.
    Raises: Failure (usage) naming the part that is wrong.
    """

    def wrong(because: str, try_: str = "--subject '/C=FR/O=Acme/CN=Acme root'") -> Failure:
        return Failure(f"the subject {text[:200]!r} cannot be used", because, try_, Exit.USAGE)

    if not text.startswith("/"):
        raise wrong("it does not start with '/'")
    if not _SUBJECT.fullmatch(text):
        raise wrong("it ends in a lone backslash")
    attributes = []
    for raw in _PART.findall(text):
        name, equals, escaped = raw.partition("=")
        name = name.strip()
        if not equals:
            raise wrong(f"{raw!r} is not NAME=VALUE", r"write a slash inside a value as \/")
        if name.lower() not in _BY_LOWER:
            raise wrong(f"{name!r} is not one of {', '.join(_ATTRIBUTES)}")
        oid, longest = _ATTRIBUTES[_BY_LOWER[name.lower()]]
        value = re.sub(r"\\(.)", r"\1", escaped).strip()
        if not value:
            raise wrong(f"{name} has no value", f"leave '/{name}=' out or give it a value")
        if not value.isprintable():
            raise wrong(f"{name} holds a control character")
        if len(value) > longest:
            raise wrong(f"{name} is {len(value)} characters, at most {longest} fit (RFC 5280)")
        if oid == NameOID.COUNTRY_NAME and not re.fullmatch("[A-Z]{2}", value):
            raise wrong(f"C is '{value}', not two capital letters", "an ISO 3166 code such as C=FR")
        try:
            attributes.append(x509.NameAttribute(oid, value))
        except (ValueError, TypeError) as error:
            raise wrong(f"{name}: {error}") from None
    if not any(a.oid in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME) for a in attributes):
        raise wrong("it has neither CN nor O, so nobody could tell whose it is")
    return x509.Name(attributes)


def parse_ip(text: str) -> Address:
    """An IP address for an iPAddress name. Raises Failure (usage)."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        raise Failure(
            f"{text[:80]!r} is not an IP address",
            "--ip takes one IPv4 or IPv6 address",
            "--ip 192.168.1.10",
            Exit.USAGE,
        ) from None
    if isinstance(address, ipaddress.IPv6Address) and address.scope_id:
        raise Failure(
            f"{text[:80]!r} has a zone", "a certificate cannot hold the part after '%'", "--ip with a global address",
            Exit.USAGE,
        )  # fmt: skip
    return address


def host_name(text: str) -> str:
    """A host name as A-labels in lower case (RFC 5890); the leftmost label may be `*`. Raises Failure (usage)."""

    def wrong(because: str) -> Failure:
        return Failure(f"{text[:260]!r} is not a host name", because, "a name such as broker.example.org", Exit.USAGE)

    star, rest = ("*.", text[2:]) if text.startswith("*.") else ("", text)
    labels = [_a_label(label, wrong) for label in rest.removesuffix(".").split(".")]
    name = star + ".".join(labels)
    if len(name) > 253:
        raise wrong("it is longer than 253 characters")
    if labels[-1].isdigit():
        raise wrong("its last label is a number, so it looks like an IP address (RFC 1123 section 2.1)")
    if star and len(labels) < 2:
        raise wrong(f"clients ignore a wildcard as broad as '{name}'")
    return name


def _a_label(label: str, wrong: Callable[[str], Failure]) -> str:
    lower = label.lower()
    try:
        if label.isascii() and not lower.startswith("xn--"):
            if not _LABEL.fullmatch(lower):
                raise wrong(
                    "it has an empty label"
                    if not label
                    else f"{label!r} is not letters, digits and inner '-', 1 to 63 of them (RFC 1123)"
                )
            return lower
        return idna.encode(label, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise wrong(f"'{label}': {error}") from None


def server_names(names: Iterable[str], ips: Iterable[str]) -> list[x509.GeneralName]:
    """The subject alternative names of a server, in the order given, without repeats.

    Args: names: host names (an IP address among them becomes an iPAddress). ips: IP addresses.
    Raises: Failure (usage) for a bad or absent name.
    """
    found: dict[x509.GeneralName, None] = {}
    for text in names:
        try:
            found[x509.IPAddress(ipaddress.ip_address(text))] = None
        except ValueError:
            found[x509.DNSName(host_name(text))] = None
    for text in ips:
        found[x509.IPAddress(parse_ip(text))] = None
    if not found:
        raise Failure(
            "a server certificate needs a name",
            "no host name and no --ip was given",
            "rootlet ca issue server broker.example.org --ip 192.168.1.10",
            Exit.USAGE,
        )
    return list(found)


def device_name(device_id: str) -> x509.GeneralName:
    """The subject alternative name of a device. Raises Failure (usage) for an id a board cannot have."""
    if not _DEVICE.fullmatch(device_id):
        raise Failure(
            f"{device_id[:80]!r} cannot be a device id",
            "an id is 1 to 48 letters, digits, '-', '_' or '.', since it is also an MQTT user and topic level",
            "rootlet ca issue device pico-1",
            Exit.USAGE,
        )
    try:
        return x509.DNSName(host_name(device_id))
    except Failure:
        # Not a host name ('pico_1'): a dNSName must be one (RFC 5280 section 4.2.1.6), a directoryName need not.
        return x509.DirectoryName(common_name(device_id))


def common_name(value: str) -> x509.Name:
    """A subject that is only CN=value."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, value)])


def parse_time(text: str, option: str) -> datetime:
    """A moment from ISO 8601; without an offset it is UTC. Raises Failure (usage)."""
    try:
        moment = datetime.fromisoformat(text)
        return utc(moment)
    except (ValueError, OverflowError):
        raise Failure(
            f"{option} {text[:80]!r} is not a date",
            "it is not ISO 8601",
            f"{option} 2027-01-31 or {option} 2027-01-31T12:00:00Z",
            Exit.USAGE,
        ) from None


def utc(moment: datetime) -> datetime:
    """The moment in UTC, whole seconds; a naive one is taken to be UTC already."""
    aware = moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    return aware.replace(microsecond=0)
