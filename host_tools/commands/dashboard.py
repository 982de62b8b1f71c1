"""`rootlet dashboard`: a live page of all devices, over HTTPS."""

import signal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from host_tools.commands import observer
from host_tools.failure import Exit, Failure

if TYPE_CHECKING:
    from host_tools.dashboard.certificate import ServerCertificate
    from host_tools.dashboard.serve import Site

_HERE = Path("ca-data")
_UNITS = {"h": 1 / 24, "d": 1.0, "w": 7.0}


def _end(*_: Any) -> None:
    raise KeyboardInterrupt


def _days(text: str) -> float:
    number, unit = text[:-1], text[-1:]
    try:
        days = float(number) * _UNITS[unit]
    except (ValueError, KeyError):
        days = 0
    if not 0 < days <= 36500:
        because = f"{text[:40]!r} is no time such as 12h, 30d or 8w"
        raise Failure("--keep is not understood", because, "--keep 30d", Exit.USAGE)
    return days


def _needs() -> None:
    import importlib.util

    absent = [name for name in ("starlette", "uvicorn", "websockets", "paho") if not importlib.util.find_spec(name)]
    if absent:
        because = f"{', '.join(absent)}: not installed"
        raise Failure("the page cannot be served", because, "pip install 'rootlet[dashboard]'", Exit.USAGE)


def dashboard(
    *,
    broker: observer.BrokerPlace = None,
    project: observer.Project = None,
    ca: observer.CaFile = None,
    cert: observer.Cert = None,
    key: observer.Key = None,
    user: observer.User = None,
    password_file: observer.PasswordFile = None,
    passphrase_file: observer.PassphraseFile = None,
    topic: observer.Topic = None,
    listen: Annotated[str, typer.Option(help="Address to serve at; 0.0.0.0 lets the LAN in.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0 takes a free one.", min=0, max=65535)] = 8443,
    ca_dir: Annotated[
        Path | None, typer.Option(help="Folder of `rootlet ca`, for this server; by default the project's or ca-data.")
    ] = None,
    name: Annotated[str, typer.Option(help="The server certificate to use, by its first name.")] = "localhost",
    mtls: Annotated[
        bool, typer.Option("--mtls", help="Browsers need a certificate of the CA in place of the token.")
    ] = False,
    allow: Annotated[
        list[str] | None, typer.Option(help="With --mtls: who may see the page; operator and observer by default.")
    ] = None,
    http_redirect: Annotated[
        int | None, typer.Option(metavar="PORT", help="Send browsers from plain HTTP there to HTTPS.", min=0, max=65535)
    ] = None,
    history: Annotated[
        str | None,
        typer.Option(metavar="FILE|none", help="Where readings are kept; by default dashboard-data/history.sqlite."),
    ] = None,
    keep: Annotated[str, typer.Option(help="How long readings are kept: 12h, 30d, 8w.")] = "30d",
    access_log: Annotated[bool, typer.Option("--access-log", help="A line for each request, without queries.")] = False,
) -> None:
    """Serve a live page of all devices over HTTPS until Ctrl-C; who has the printed address may see it.

    Without HOST:PORT, broker, CA and certificates are those of the project.

    Example: rootlet dashboard
    """
    _needs()
    import logging

    from host_tools import history_file, masking, ports, revocation
    from host_tools.commands.ca import _authority
    from host_tools.dashboard import certificate, serve

    if allow and not mtls:
        because = "without --mtls whoever has the token may see it"
        raise Failure("--allow needs --mtls", because, "rootlet dashboard --mtls --allow …", Exit.USAGE)
    days = _days(keep)
    found = ports.find_project(project) if broker is None or project else None
    place = observer.place_of(
        "rootlet dashboard", broker, found, project, passphrase_file, ca, password_file,
        cert=cert, key=key, user=user, topic=topic,
    )  # fmt: skip
    directory = ca_dir or (found.ca_dir if found is not None else _HERE)
    tell = lambda text: typer.echo(text, err=True)  # noqa: E731
    own = certificate.find(directory, name, lambda where: _authority(where, passphrase_file), tell)
    root = found.folder if found is not None else Path()
    settings = serve.Settings(
        place=place,
        cert=own.cert,
        key=own.key,
        ca=directory / "ca.crt.pem",
        names=own.names,
        listen=listen,
        port=port,
        revoked=revocation.existing(directory) if mtls else None,
        mtls=tuple(allow or ("operator", "observer")) if mtls else None,
        redirect_port=http_redirect,
        history=None if history == "none" else Path(history) if history else root / history_file.DEFAULT,
        keep_days=days,
        say=tell if access_log else None,
        clean=_cleaner([*masking.known(found, Path()), *([place.password] if place.password else [])]),
    )
    logging.basicConfig(format="%(message)s", level=logging.WARNING)
    signal.signal(signal.SIGTERM, _end)
    try:
        serve.run(settings, lambda site: _say(site, own))
    except KeyboardInterrupt:
        typer.echo("ended")


def _cleaner(secrets: list[str | bytes]) -> Any:
    """Hides the secrets of this machine in what devices publish, as `rootlet watch` does."""
    from host_tools.dashboard.live import LARGEST_PAYLOAD
    from host_tools.masking import Masker

    masker = Masker(secrets)

    def clean(message: tuple[str, bytes]) -> tuple[str, bytes]:
        topic, payload = message
        if not topic or len(payload) > LARGEST_PAYLOAD:  # such a one is only counted
            return message
        text = payload.decode("utf-8", "replace")
        masked = masker.text(text)
        masker.restarted()
        return masker.text(topic), payload if masked == text else masked.encode()

    return clean


def _say(site: "Site", own: "ServerCertificate") -> None:
    settings = site.settings
    from host_tools.dashboard.serve import is_loopback

    place = settings.place
    typer.echo(f"watching {place.host}:{place.port}; Ctrl-C ends it")
    typer.echo(f"certificate  {own.cert} for {', '.join(own.names)}, until {own.day}")
    typer.echo(f"browsers must trust its CA, once:  rootlet ca trust --dir {settings.ca.parent}")
    if settings.history:
        typer.echo(f"history      {settings.history}, for {settings.keep_days:g} days")
    if site.redirect_port is not None:
        typer.echo(f"plain HTTP   port {site.redirect_port} sends browsers to HTTPS")
    if not is_loopback(settings.listen) and own.names[0] == "localhost":
        fix = "rootlet ca issue server NAME, then rootlet dashboard --name NAME"
        typer.echo(f"other machines know this one by another name than localhost: {fix}")
    if settings.mtls is not None:
        names = " or ".join(settings.mtls)
        typer.echo(f"{site.url}  for browsers with a certificate of the CA for {names}")
    else:
        typer.echo(f"open  {site.url}#token={settings.token}")
        typer.echo("who has this address may see the page; the next start makes a new one")
