"""`rootlet certs store`: chooses roots from a bundle, writes the store, says what is in it."""

from datetime import UTC, datetime
from pathlib import Path

from host_tools import certinfo, certs, roots
from host_tools.failure import Exit, Failure
from rootlet.errors import RootletError
from rootlet.policy import ip_bytes
from rootlet.store import Store

_TIMEOUT_S = 10.0
_WHOLE = 1 << 24  # the largest offset a store can hold


def _bundles(given: list[Path]) -> tuple[list[Path], str]:
    """The bundles to read and the version to write into the store."""
    if given:
        return given, given[0].stem
    import certifi

    return [Path(certifi.where())], certifi.__version__


def _named(text: str, everything: list[roots.Anchor]) -> list[roots.Anchor]:
    found = [a for a in everything if roots.matches(a, text)]
    if not found:
        raise Failure(f"no root matches '{text}'", f"none of {len(everything)} has it in its subject or SHA-256",
                      "rootlet certs store --check FILE   (lists what a store holds)", Exit.USAGE)  # fmt: skip
    return found


def _once(anchors: list[roots.Anchor]) -> list[roots.Anchor]:
    return list(dict.fromkeys(anchors))


def make(
    out: Path,
    *,
    bundles: list[Path],
    names: list[str],
    hosts: list[str],
    deny: list[str],
    max_bytes: int | None,
    build_time: int | None,
) -> list[str]:
    """Choose, build and write a root store.

    Args:
        bundles: PEM files; certifi's where empty. names, deny: parts of subjects, or SHA-256 digits.
        hosts: HOST[:PORT] to ask which root each needs. max_bytes: the largest file, or None.
    Returns lines for a person. Raises Failure.
    """
    moment = certs.moment_of_build(build_time)
    files, version = _bundles(bundles)
    everything: list[roots.Anchor] = []
    lines: list[str] = []
    for path in files:
        good, left = roots.usable(certinfo.read_certificates(path), path, moment)
        everything += good
        lines += left
    for text in deny:
        refused = _named(text, everything)
        everything = [a for a in everything if a not in refused]
    chosen: list[roots.Anchor] = []
    for text in names:
        chosen += _named(text, everything)
    for place in hosts:
        chosen += _needed_by(place, everything)
    needed = _once(chosen) if names or hosts else everything
    wanted = roots.with_successors(needed, everything) if names or hosts else needed
    kept = roots.fit(wanted, max_bytes or _WHOLE, len(needed) if names or hosts else 0, version, moment)
    data = roots.build(kept, version, moment)
    roots.write(data, out)
    if names or hosts:
        lines += [f"{'chosen' if a in needed else 'successor':<10} {describe(a)}" for a in kept]
    if len(kept) < len(wanted):
        lines.append(f"left out   {len(wanted) - len(kept)} roots that do not fit into {max_bytes} bytes")
    return [*lines, *_summary(out)]


def describe(a: roots.Anchor) -> str:
    """One line about a root."""
    return f"{a.title}, {certinfo.cert_key_name(a.cert)}, until {datetime.fromtimestamp(a.not_after, UTC):%Y-%m-%d}"


def _summary(path: Path) -> list[str]:
    store = opened(path)
    return [
        f"roots        {store.count}, version {store.version}",
        f"clock floor  {datetime.fromtimestamp(store.build_time, UTC):%Y-%m-%dT%H:%M:%SZ}",
        f"sha256       {store.check().hex()}",
        f"file         {path} ({store.size} bytes on the board)",
    ]


def opened(path: Path) -> Store:
    """A store, checked whole. Raises Failure (exit code 4)."""
    try:
        store = Store(str(path))
        store.check()
    except RootletError as e:
        raise Failure(
            f"{path} cannot be used", e.fact, "rootlet certs store -o build/roots.bin", Exit.UNVERIFIED
        ) from None
    return store


def listing(path: Path) -> list[str]:
    """Check a store whole and list its roots. Raises Failure (exit code 4) where it is damaged."""
    from cryptography import x509

    store = opened(path)
    lines = []
    try:
        for der in store.roots():
            cert = x509.load_der_x509_certificate(bytes(der))
            lines.append(describe(roots.anchor(cert)))
    except RootletError as e:
        raise Failure(f"{path} cannot be used", e.fact, "make it again", Exit.UNVERIFIED) from None
    return [*sorted(lines), *_summary(path)]


def _needed_by(place: str, everything: list[roots.Anchor]) -> list[roots.Anchor]:
    """The roots that a verified connection to HOST[:PORT] may end in. Nothing the server says is trusted."""
    from cryptography import x509

    from host_tools.inspect import dial, probe
    from host_tools.inspect.mbedtls import PORTS

    host, port = dial.target(place)
    seen = probe.as_board(host, port, "" if ip_bytes(host) else host, PORTS["rp2"], _TIMEOUT_S)
    chain = [x509.load_der_x509_certificate(der) for der in seen.flight.certificates]
    if not chain:
        because = "it does not serve what a board offers"
        raise Failure(f"{place} shows no certificate", because, f"rootlet inspect {place}")
    for cert in chain:  # leaf first: the lowest issuer that is known, as on the board
        issuer = cert.issuer.public_bytes()
        found = [a for a in everything if a.subject == issuer]
        if found:
            return found
    top = certinfo.printable(chain[-1].issuer.rfc4514_string())
    raise Failure(f"no root for {place}", f"its chain ends at '{top}', which is not in the bundle",
                  "--bundle FILE with its CA, if you trust it")  # fmt: skip
