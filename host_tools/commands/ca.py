"""`rootlet ca`: make a private CA, issue server and device certificates, list and show them."""

import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from host_tools.commands.ca_trust import trust
from host_tools.failure import Exit, Failure

if TYPE_CHECKING:
    from datetime import datetime

    from host_tools.ca import Authority, Issued

app = typer.Typer(help="A private CA: `rootlet ca init`, then `rootlet ca issue`.", no_args_is_help=True)
issue = typer.Typer(help="Issue a certificate: `rootlet ca issue server NAME`.", no_args_is_help=True)
app.add_typer(issue, name="issue")
app.command()(trust)

Dir = Annotated[Path, typer.Option("--dir", help="The CA's directory.")]
Days = Annotated[int | None, typer.Option("--days", help="Life in days, from now or from --not-before.")]
NotBefore = Annotated[str | None, typer.Option("--not-before", help="First moment, ISO 8601 in UTC.")]
NotAfter = Annotated[str | None, typer.Option("--not-after", help="Last moment, ISO 8601 in UTC.")]
Key = Annotated[
    str | None,
    typer.Option("--key", help="p256, p384, rsa2048, rsa3072 or rsa4096, in place of what the CA's profile says."),
]
Force = Annotated[bool, typer.Option("--force", help="Replace what exists; the old file stays as .bak.")]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
PassphraseFile = Annotated[
    Path | None,
    typer.Option("--passphrase-file", help="Its first line is the passphrase of the CA key."),
]
HERE = Path("ca-data")
_VARIABLE = "ROOTLET_CA_PASSPHRASE"


@app.command()
def init(
    *,
    directory: Dir = HERE,
    subject: Annotated[
        str, typer.Option("--subject", help="Who the CA is, as /C=FR/O=Acme/CN=Acme root.")
    ] = "/O=Rootlet/CN=Rootlet private CA",
    profile: Annotated[
        str, typer.Option("--profile", help="strong: P-256; fast: RSA-2048 CA and servers, which end with 2029.")
    ] = "strong",
    key: Key = None,
    passphrase: Annotated[bool, typer.Option("--passphrase", help="Encrypt the key; asks, or see below.")] = False,
    passphrase_file: PassphraseFile = None,
    days: Days = None,
    not_before: NotBefore = None,
    not_after: NotAfter = None,
    force: Force = False,
) -> None:
    """Make the CA: 10 years, P-256; with --profile fast RSA-2048 and until 2029-12-31 at the latest.

    The profile is kept in the CA's directory and says which keys `rootlet ca issue` makes. On an RP2040 a check of
    RSA-2048 costs less than one of P-256, so that fast makes mutual TLS quicker there: the table says by how much.

    The passphrase comes from --passphrase-file, ROOTLET_CA_PASSPHRASE or a prompt, never from the command line.

    Example: rootlet ca init --passphrase --subject '/C=FR/O=Acme/CN=Acme root'
    """
    from host_tools import ca, certinfo, handshakes

    secret = _passphrase(passphrase_file, wanted=passphrase, new=True)
    authority = ca.init(
        directory,
        subject=subject,
        profile=profile,
        key_type=key,
        passphrase=secret,
        days=days,
        not_before=_moment(not_before, "--not-before"),
        not_after=_moment(not_after, "--not-after"),
        force=force,
    )
    facts = certinfo.describe(authority.cert)
    typer.echo(certinfo.text(facts))
    _cost(facts, directory)
    _files(authority.cert_pem, authority.cert_der)
    typer.echo(f"key          {directory / 'ca.key.pem'} ({'encrypted' if secret else 'not encrypted'}; keep it here)")
    typer.echo(f"profile      {authority.profile}")
    if last_day := handshakes.PROFILES[authority.profile].last_day:
        typer.echo(f"note         nothing of this CA ends after {last_day}: RSA-2048 is not for longer")
    typer.echo(f"next         rootlet ca issue server NAME --dir {directory}")


@issue.command()
def server(
    *,
    names: Annotated[list[str] | None, typer.Argument(help="Host names, the main one first.")] = None,
    ip: Annotated[list[str] | None, typer.Option("--ip", help="An IP address it also answers at; repeatable.")] = None,
    directory: Dir = HERE,
    key: Key = None,
    host_only: Annotated[
        bool, typer.Option("--host-only", help="No board connects to it: --key ed25519 and ed448 can be used too.")
    ] = False,
    days: Days = None,
    not_before: NotBefore = None,
    not_after: NotAfter = None,
    force: Force = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Issue a server certificate (serverAuth), 397 days by default.

    Example: rootlet ca issue server broker.local --ip 192.168.1.10
    """
    made = _authority(directory, passphrase_file).issue_server(
        names or [],
        ip or [],
        days=days,
        not_before=_moment(not_before, "--not-before"),
        not_after=_moment(not_after, "--not-after"),
        key_type=key,
        host_only=host_only,
        force=force,
    )
    _show_issued(made, directory)


@issue.command()
def device(
    *,
    device_id: Annotated[str, typer.Argument(metavar="ID", help="The device id: its CN and MQTT user.")],
    directory: Dir = HERE,
    key: Key = None,
    days: Days = None,
    not_before: NotBefore = None,
    not_after: NotAfter = None,
    force: Force = False,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Issue a device certificate (clientAuth) for mutual TLS, 825 days by default.

    Example: rootlet ca issue device pico-1
    """
    made = _authority(directory, passphrase_file).issue_device(
        device_id,
        days=days,
        not_before=_moment(not_before, "--not-before"),
        not_after=_moment(not_after, "--not-after"),
        key_type=key,
        force=force,
    )
    _show_issued(made, directory)


@app.command("list")
def list_(directory: Dir = HERE, as_json: Json = False) -> None:
    """List the CA and what it issued.

    Example: rootlet ca list --json
    """
    from host_tools import ca, certinfo, revocation

    gone = {f"{entry.serial:x}": entry for entry in revocation.revoked(directory)}
    entries = ca.entries(directory)
    for entry in entries:
        if found := gone.get(entry["serial"]):
            entry |= {"status": "revoked", "revoked": {"reason": found.reason, "when": found.when.isoformat()}}
    if as_json:
        typer.echo(json.dumps(entries, indent=2))
        return
    for entry in entries:
        names = certinfo.printable(", ".join([*entry["dns"], *entry["ips"]]) or entry["subject"])
        typer.echo(
            f"{entry['kind']:<6}  {entry['name']:<24}  until {entry['not_after'][:10]} ({entry['status']})  "
            f"{entry['key']:<8}  {entry['der_bytes']:>5} B  {entry['sha256'][:16]}  {names}"
        )


@app.command()
def revoke(
    *,
    what: Annotated[str, typer.Argument(metavar="ID|FILE", help="A device id, a name from `list`, or a file.")],
    reason: Annotated[
        str, typer.Option("--reason", help="unspecified, key-compromise, superseded or cessation.")
    ] = "unspecified",
    directory: Dir = HERE,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Take a certificate back: it goes onto the CA's signed list, which `rootlet broker` gives to its broker.

    With an id, the certificates that the device had before go onto it, too; with a file, that one alone.
    A broker that runs has to be started again; elsewhere, copy the list there first. Nothing takes this back.

    Example: rootlet ca revoke pico-1 --reason key-compromise
    """
    from host_tools import revocation

    made = revocation.revoke(_authority(directory, passphrase_file), what, reason)
    path = revocation.crl_file(directory)
    typer.echo(f"revoked      {made.name}, serial number {made.serial:x} ({made.reason})")
    if made.more:
        typer.echo(f"             and {made.more} former certificate{'s' * (made.more > 1)} of it, which had not ended")
    typer.echo(f"file         {path} ({len(revocation.serials(path))} certificates; as long as the CA lives)")
    typer.echo("next         start the broker again: rootlet broker")
    typer.echo(
        "             on other machines: copy the list there first; a cluster: --write again, and copy its folders"
    )


@app.command()
def show(
    what: Annotated[str, typer.Argument(metavar="FILE|NAME", help="A certificate file, or a name from `list`.")],
    directory: Dir = HERE,
    as_json: Json = False,
) -> None:
    """Show a certificate: names, expiry, fingerprint, and what it costs on a board.

    Example: rootlet ca show ca
    """
    from host_tools import ca, certinfo, handshakes

    found = ca.find(what, directory)
    if as_json:
        costed = [{**facts, "handshakes": handshakes.figures(ca.combinations(facts, directory))} for facts in found]
        typer.echo(json.dumps(costed if len(costed) > 1 else costed[0], indent=2))
        return
    for i, facts in enumerate(found):
        typer.echo(f"{chr(10) if i else ''}file         {facts['file']}\n{certinfo.text(facts)}")
        _cost(facts, directory)


@app.command("update-key")
def update_key(
    *,
    directory: Dir = HERE,
    passphrase: Annotated[bool, typer.Option("--passphrase", help="Encrypt the key; asks, or see below.")] = False,
    passphrase_file: PassphraseFile = None,
    force: Force = False,
) -> None:
    """Make the key that remote updates are signed with (RSA-3072); boards get its public part.

    With "update": {"key": "update.pub"} in a configuration, provision and deploy put it onto the board.

    Example: rootlet ca update-key
    """
    from host_tools import update_keys

    secret = _passphrase(passphrase_file, wanted=passphrase, new=True)
    private, public = update_keys.new(directory, passphrase=secret, force=force)
    kind = "encrypted" if secret else "not encrypted: whoever has it runs code on every board"
    typer.echo(f"private      {private} ({kind})")
    typer.echo(f"public       {public} (goes onto the boards)")


def _authority(directory: Path, passphrase_file: Path | None) -> "Authority":
    """Open a CA, with its passphrase where it has one. Raises Failure."""
    from host_tools import ca

    secret = _passphrase(passphrase_file, wanted=True, new=False) if ca.is_encrypted(directory) else None
    return ca.load(directory, secret)


def _passphrase(file: Path | None, *, wanted: bool, new: bool) -> str | None:
    """From a file, else from the environment, else asked for on a terminal where it is wanted."""
    if file is not None:
        try:
            with file.open(encoding="utf-8") as stream:
                return stream.readline(2048).rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            because = (error.strerror if isinstance(error, OSError) else None) or "it is not UTF-8 text"
            raise Failure(f"cannot read {file}", because, f"ls -l {file}", Exit.USAGE) from None
    from_environment = os.environ.get(_VARIABLE)
    if from_environment:
        return from_environment
    if not wanted:
        return None
    if not sys.stdin.isatty():
        raise Failure(
            "the CA key needs a passphrase",
            "there is no terminal to ask on",
            f"--passphrase-file FILE, or set {_VARIABLE}",
            Exit.USAGE,
        )
    answer: str = typer.prompt("Passphrase of the CA key", hide_input=True, confirmation_prompt=new, err=True)
    return answer


def _moment(text: str | None, option: str) -> "datetime | None":
    from host_tools.x509_names import parse_time

    return None if text is None else parse_time(text, option)


def _cost(facts: dict[str, Any], directory: Path) -> None:
    from host_tools import ca, handshakes

    typer.echo("\n".join(handshakes.lines(ca.combinations(facts, directory))))


def _show_issued(made: "Issued", directory: Path) -> None:
    from host_tools import certinfo

    facts: dict[str, Any] = made.facts()
    typer.echo(certinfo.text(facts))
    _cost(facts, directory)
    _files(made.cert_pem, made.cert_der, made.key_pem, made.key_der)
    for note in made.notes:
        typer.echo(f"note         {note}")


def _files(*paths: Path) -> None:
    for path in paths:
        typer.echo(f"file         {path}")
