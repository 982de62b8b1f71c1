"""Makes browsers and systems trust the project's CA, undoes it, and says what that means."""

import shlex
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from cryptography import x509

from host_tools import certinfo
from host_tools.failure import Exit, Failure
from host_tools.trust_places import Place, browsers, label, systems

_MEANING = """\
to trust it  means: whoever has this CA's private key can be any site to that browser, your bank's too.
{limits}
             Trust it only where the page is looked at, keep the key encrypted (rootlet ca init --passphrase) or away
             from the network, and take the trust away again (--remove) when the page is no longer used."""
_UNLIMITED = """\
             This CA may vouch for every name: it has no name constraints, since Mbed TLS, which checks certificates
             on the boards, refuses a CA that has them. A second CA for the page alone keeps the boards' CA out of
             the browser: make it with --dir page-ca, issue the page's certificate, then destroy page-ca/ca.key.pem;
             a CA without a key can vouch for nothing more."""
_BY_HAND = """\
by hand
  Chromium and Chrome on Linux  certutil -A -d sql:$HOME/.pki/nssdb -t C,, -n "{label}" -i {file}
                                (newer ones: sql:$HOME/.local/share/pki/nssdb, where that folder is)
  Firefox, one profile          certutil -A -d sql:PROFILE -t C,, -n "{label}" -i {file}
                                (about:support shows the profile's folder; restart Firefox)
  Firefox, for everybody        /etc/firefox/policies/policies.json:
                                {{"policies": {{"Certificates": {{"Install": ["{whole}"]}}}}}}
  Firefox on macOS and Windows  takes what the system trusts (policy ImportEnterpriseRoots: true)
  Debian, Ubuntu                sudo cp {file} /usr/local/share/ca-certificates/rootlet.crt
                                sudo update-ca-certificates
  Fedora, RHEL                  sudo cp {file} /etc/pki/ca-trust/source/anchors/ && sudo update-ca-trust
  macOS                         security add-trusted-cert -r trustRoot -p ssl \\
                                  -k ~/Library/Keychains/login.keychain-db {file}
                                undo: security remove-trusted-cert {file}
  Windows                       certutil -user -addstore Root {file}
                                undo: certutil -user -delstore Root {serial}
  Android                       copy the file; Settings, Security, Install a certificate, CA certificate
  iOS                           open the file; install the profile; then
                                Settings, General, About, Certificate Trust Settings"""


def certificate(path: Path) -> x509.Certificate:
    """The one CA certificate in a file. Raises Failure where it is a leaf, a bundle, a key, or not readable."""
    found = certinfo.read_certificates(path)
    if len(found) != 1:
        raise Failure(f"{path} is not one CA", f"it holds {len(found)} certificates", "give ca.crt.pem", Exit.USAGE)
    if not certinfo.describe(found[0])["ca"]:
        because = "basicConstraints does not say CA:TRUE"
        raise Failure(f"{path} is not a CA's certificate", because, "give ca.crt.pem", Exit.USAGE)
    return found[0]


def meaning(cert: x509.Certificate) -> str:
    """What it means to trust this CA, as lines for a person."""
    try:
        limits = cert.extensions.get_extension_for_class(x509.NameConstraints).value
    except x509.ExtensionNotFound:
        return _MEANING.format(limits=_UNLIMITED)
    names = ", ".join(str(name.value) for name in limits.permitted_subtrees or []) or "all but some"
    return _MEANING.format(limits=f"             It is limited to these names: {certinfo.printable(names)}.")


def by_hand(cert: x509.Certificate, file: Path) -> str:
    """The commands for every system, as lines for a person."""
    shown = shlex.quote(str(file))
    return _BY_HAND.format(label=label(cert), file=shown, whole=file.resolve(), serial=f"{cert.serial_number:x}")


def places(nss: list[Path], *, system: bool, home: Path | None = None) -> list[Place]:
    """Where to trust it: the databases named, or the browsers of this person; the system's store if asked for."""
    from host_tools.trust_places import Nss

    found: list[Place] = [Nss(path) for path in nss] or browsers(home or Path.home())
    return [*found, *(systems() if system else [])]


def state(where: list[Place], cert: x509.Certificate) -> list[str]:
    """One line a place: whether it trusts the CA, or why that cannot be told."""
    lines = []
    for place in where:
        try:
            word = "trusted" if place.has(cert) else "not trusted"
        except Failure as failure:
            word = f"not known ({failure.because})"
        lines.append(f"{word:<12} {place.title}")
    return lines


def install(where: list[Place], cert: x509.Certificate, say: Callable[[str], None]) -> None:
    """Make every place trust it, and look afterwards that each does; places that do already stay as they are.

    Raises: Failure where there is no place, the CA has ended, or a place does not trust it after all.
    """
    _some(where)
    if cert.not_valid_after_utc <= datetime.now(UTC):
        because = f"it ended {cert.not_valid_after_utc:%Y-%m-%d}"
        raise Failure("this CA cannot be trusted any more", because, "rootlet ca init --force, for a new CA")
    for place in where:
        if place.has(cert):
            say(f"trusted already  {place.title}")
            continue
        place.add(cert)
        if not place.has(cert):
            raise Failure(f"{place.title} does not trust the CA", "it was added, and is not found in it", "report this")
        say(f"trusted now      {place.title}")


def remove(where: list[Place], cert: x509.Certificate, say: Callable[[str], None]) -> None:
    """Take it out of every place, and look afterwards that it is gone. Raises Failure where it stays."""
    _some(where)
    for place in where:
        place.remove(cert)
        if place.has(cert):
            because = "it was removed, and is still found there: somebody put it in under another name too"
            raise Failure(f"{place.title} still trusts the CA", because, "remove it by hand; see rootlet ca trust")
        say(f"not trusted      {place.title}")


def consent(question: str, *, yes: bool) -> None:
    """Go on with --yes, or after a yes at a terminal. Raises Failure (exit 2) without a terminal, 1 after a no."""
    if yes:
        return
    if not sys.stdin.isatty():
        raise Failure(f"{question} needs consent", "there is no terminal to ask on", "the same command with --yes",
                      Exit.USAGE)  # fmt: skip
    import typer

    if not typer.confirm(f"{question}?", default=False, err=True):
        raise Failure("nothing was changed", "the answer was no", "the same command again, for another answer")


def _some(where: list[Place]) -> None:
    if not where:
        raise Failure(
            "there is no place to put the CA",
            "no database of Chromium or Firefox was found for this user",
            "rootlet ca trust (without options) shows what to do by hand; --nss DIR names a database",
        )
