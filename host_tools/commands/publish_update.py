"""`rootlet publish-update`: a signed update for the devices of a project, and its way to them."""

import contextlib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from host_tools.failure import Exit, Failure

if TYPE_CHECKING:
    from host_tools.servers import HttpsServer

_FOLDER = "updates"


def publish_update(
    *,
    devices: Annotated[
        list[str] | None, typer.Argument(metavar="[DEVICE]...", help="Devices, those that go first first; else all.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Where a web server of yours serves the folder: https://HOST/PATH/")
    ] = None,
    serve: Annotated[
        str | None, typer.Option(metavar="HOST:PORT", help="Serve it from here, under the project's CA, while it runs.")
    ] = None,
    number: Annotated[int | None, typer.Option("--version", help="Number of the version; the time by default.")] = None,
    folder: Annotated[
        Path | None, typer.Option("--out", help="Folder to publish in; build/updates by default.")
    ] = None,
    stages: Annotated[str, typer.Option(help="Percent of the fleet, stage by stage.")] = "1,10,100",
    max_failures: Annotated[
        int | None, typer.Option("--max-failures", min=0, help="In each stage; by default 0 in the first, then 2 %.")
    ] = None,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds for a device to work with the new version.")] = 900,
    tries: Annotated[int, typer.Option(min=1, help="How often a device is asked.")] = 3,
    at_once: Annotated[int, typer.Option("--at-once", min=1, help="Devices at the same time.")] = 50,
    again: Annotated[bool, typer.Option("--again", help="Also devices that have gone back from this version.")] = False,
    downgrade: Annotated[
        bool, typer.Option("--downgrade", help="Sign it as one that may replace a newer version.")
    ] = False,
    mpy_version: Annotated[
        str | None, typer.Option("--mpy", help="The .mpy version of the boards, such as 6.3.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the last one where it was stopped.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, publish nothing.")] = False,
    project: Annotated[
        Path | None, typer.Option("--project", help="The project's folder; else found from here.")
    ] = None,
    passphrase_file: Annotated[
        Path | None,
        typer.Option("--passphrase-file", help="Its first line is the passphrase of the CA and update keys."),
    ] = None,
) -> None:
    """Compile and sign an update, and with --url or --serve take it to the devices: to few, to more, then to all.

    It ends with code 1 where too many devices of a stage did not work with the new version.

    Example: rootlet publish-update --serve updates.home:8443
    """
    from host_tools import update_fleet as fleet
    from host_tools.commands.ca import _authority
    from host_tools.rollout import Limits, Rollout
    from host_tools.watch import OPERATOR, Watcher, of_project

    if url and serve:
        raise Failure("--url and --serve exclude each other", "both are given", "one of the two", Exit.USAGE)
    loaded, taking = _chosen(project, devices)
    out = folder or loaded.folder / "build" / _FOLDER
    boards = sorted({one.board for one in taking})
    done: list[str] = []
    if resume:
        path = fleet.newest(out)
        lists, versions, done = fleet.resumed(path, boards)
    else:
        lists, versions = _published(loaded, boards, out, number, downgrade, mpy_version, passphrase_file, dry_run)
        path = out / f"rollout-{max(versions.values())}.json"
    if not (url or serve):
        typer.echo(f"serve {out} over HTTPS, then: rootlet publish-update --resume --url https://HOST/PATH/")
        if not dry_run and not resume:
            _first(path, lists, versions)
        return
    limits = Limits(_percents(stages), max_failures, timeout, tries, at_once, again)
    with contextlib.ExitStack() as stack:
        base = (url or "").rstrip("/") + "/"
        if serve:
            host, port = _place(serve)
            if not dry_run:
                port = stack.enter_context(_server(loaded, host, port, out, passphrase_file)).port
            base = f"https://{host}:{port}/"
        targets = [
            fleet.Target(one.id, one.board, one.topic, base + lists[one.board], versions[one.board]) for one in taking
        ]
        fleet.check_url(targets[0].url)
        rollout = Rollout([one.id for one in taking], {t.device: t.version for t in targets}, limits, done)
        for line in fleet.plan(rollout, targets, limits):
            typer.echo(line)
        if dry_run:
            return
        place = of_project(
            loaded, lambda ca: _authority(ca, passphrase_file), lambda text: typer.echo(text, err=True), OPERATOR
        )
        watcher = stack.enter_context(
            Watcher(
                place.host,
                place.port,
                place.ca,
                place.cert,
                place.key,
                user=place.user,
                password=place.password,
                topic=fleet.filters(targets),
                longest=4096,
            )
        )
        fleet.run(rollout, targets, watcher, fleet.Progress(path, lists, versions), limits, typer.echo)


def _chosen(folder: Path | None, names: list[str] | None) -> tuple[Any, list[Any]]:
    """The project, and those of its devices that are meant and take updates."""
    from host_tools import project

    where = folder or project.find()
    if where is None:
        raise Failure("there is no project here", f"no {project.FILE} in this folder nor above it", "rootlet new NAME",
                      Exit.USAGE)  # fmt: skip
    loaded = project.load(where)
    chosen = [loaded.device(name) for name in dict.fromkeys(names or [one.id for one in loaded.devices])]
    taking = [one for one in chosen if one.takes_updates]
    if not taking:
        fix = 'key = "update.pub" in [update], rootlet ca update-key, provision, deploy'
        raise Failure("no device takes remote updates", "none has update.key", fix, Exit.USAGE)
    if len(taking) < len(chosen):
        typer.echo(f"{len(chosen) - len(taking)} devices take no remote update: they have no update.key")
    return loaded, taking


def _published(
    loaded: Any, boards: list[str], out: Path, number: int | None, downgrade: bool, abi: str | None,
    passphrase_file: Path | None, dry_run: bool,
) -> tuple[dict[str, str], dict[str, int]]:  # fmt: skip
    import time

    from host_tools import publish_update as publishing
    from host_tools import update_keys
    from host_tools.commands.ca import _passphrase

    number = int(time.time()) if number is None else number
    if dry_run:
        return {board: publishing.list_name(board, number) for board in boards}, dict.fromkeys(boards, number)
    encrypted = update_keys.is_encrypted(loaded.ca_dir)
    key = update_keys.load(loaded.ca_dir, _passphrase(passphrase_file, wanted=encrypted, new=False))
    if update_keys.modulus(key) != update_keys.public(loaded.ca_dir):
        raise Failure("the update keys do not belong together", f"in {loaded.ca_dir}", "rootlet ca update-key --force")
    lists = {}
    for board in boards:
        made = publishing.build(board, out, key, number, abi=abi, downgrade=downgrade)
        typer.echo(f"published    {made.list} ({made.files} files, {made.nbytes} bytes)")
        lists[board] = made.list.name
    return lists, dict.fromkeys(boards, number)


def _first(path: Path, lists: dict[str, str], versions: dict[str, int]) -> None:
    """A progress file of nobody, for --resume."""
    from host_tools import update_fleet as fleet
    from host_tools.rollout import Limits, Rollout

    fleet.Progress(path, lists, versions).write(Rollout([], {}, Limits()))


def _percents(text: str) -> list[float]:
    try:
        found = [float(part) for part in text.split(",")]
    except ValueError:
        found = []
    if not found or sorted(set(found)) != found or not found[0] > 0 or found[-1] != 100:
        raise Failure("--stages cannot be used", f"{text[:40]!r} is no rising list that ends with 100",
                      "--stages 1,10,100", Exit.USAGE)  # fmt: skip
    return found


def _place(serve: str) -> tuple[str, int]:
    host, _, port = serve.rpartition(":")
    if not host or not port.isdigit() or not int(port) < 65536:
        raise Failure("--serve cannot be used", f"{serve!r} is not HOST:PORT", "--serve HOST:8443", Exit.USAGE)
    return host, int(port)


def _server(loaded: Any, host: str, port: int, out: Path, passphrase_file: Path | None) -> "HttpsServer":
    """A web server for the folder, with a certificate of the project's CA, which is issued where there is none."""
    from host_tools import provision, publish_update, servers
    from host_tools.commands.ca import _authority

    cert, key = (loaded.ca_dir / "issued" / f"server-{host}.{ending}.pem" for ending in ("crt", "key"))
    if not (cert.is_file() and key.is_file() and provision._has_server(loaded.ca_dir, host)):
        is_ip = provision._is_ip(host)
        made = _authority(loaded.ca_dir, passphrase_file).issue_server(
            [] if is_ip else [host], [host] if is_ip else [], force=cert.exists()
        )
        cert, key = made.cert_pem, made.key_pem
        typer.echo(f"issued a certificate for '{host}': {cert}")
    inside = host == "localhost" or host.startswith("127.")
    place = ("127.0.0.1" if inside else "0.0.0.0", port)  # noqa: S104 (boards come from the network)
    try:
        return servers.HttpsServer(cert, key, publish_update.routes(out), place=place)
    except OSError as e:
        raise Failure(f"cannot serve on port {port}", e.strerror or str(e), "--serve with another port") from None
