"""`rootlet deploy`: the firmware, configuration and certificates onto a board, in one switch."""

from pathlib import Path
from typing import Annotated

import typer

from host_tools.failure import Exit, Failure


def deploy(
    device: Annotated[str | None, typer.Argument(help="Which device of the project.")] = None,
    port: Annotated[
        str | None, typer.Option(help="Serial port; found by itself where one board is plugged in.")
    ] = None,
    everything: Annotated[
        bool, typer.Option("--all", help="Every device of the project, one after the other.")
    ] = False,
    delete: Annotated[
        bool, typer.Option("--delete", help="Remove what former versions have left, once the new one works.")
    ] = False,
    watch: Annotated[
        bool, typer.Option("--watch", help="Deploy again whenever a source changes, until Ctrl-C.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show the plan, change nothing.")] = False,
    wait: Annotated[float, typer.Option(help="Seconds for the board to publish its first reading.", min=1)] = 120,
    no_wait: Annotated[bool, typer.Option("--no-wait", help="Restart the board, but do not wait for it.")] = False,
    board: Annotated[
        str | None, typer.Option(help="Which board; see `rootlet boards --known`. [default: pico_w]")
    ] = None,
    config: Annotated[Path | None, typer.Option(help="Configuration (JSON), checked first.")] = None,
    trust: Annotated[
        Path | None, typer.Option(help="Cert module of `rootlet certs embed`; its .mpy is taken if there.")
    ] = None,
    roots: Annotated[
        Path | None, typer.Option(help="Root store of `rootlet certs store`, to verify public servers.")
    ] = None,
    cert: Annotated[Path | None, typer.Option(help="The device's certificate, DER.")] = None,
    key: Annotated[Path | None, typer.Option(help="The device's private key, DER.")] = None,
    psk: Annotated[
        Path | None, typer.Option(help="The device's pre-shared key (DEVICE.psk), in place of --cert and --key.")
    ] = None,
    update_key: Annotated[
        Path | None, typer.Option(help="Public key of remote updates (update.pub of `rootlet ca update-key`).")
    ] = None,
    frozen: Annotated[
        bool, typer.Option("--frozen", help="The board's MicroPython has the firmware in it: only the rest is copied.")
    ] = False,
    reset: Annotated[bool, typer.Option("--reset", hidden=True)] = False,  # the board is always restarted
) -> None:
    """Copy what has changed onto a board, switch to it, and wait for a reading; where none comes, the board goes back.

    In a project its devices are deployed as provisioned; elsewhere, what the options give.

    Example: rootlet deploy

    Example: rootlet deploy --board pico_w --config config.json --trust build/trust_roots.py
    """
    from dataclasses import replace

    from host_tools import deploy_jobs, trees

    if (cert is None) != (key is None):
        raise Failure("--cert and --key belong together", "only one is given", "give both, or neither", Exit.USAGE)
    if psk is not None and cert is not None:
        raise Failure(
            "--psk and --cert exclude each other", "both are given", "a shared key or a certificate", Exit.USAGE
        )
    if everything and (device or port):
        raise Failure("--all goes with no device and no port", "one is given", "leave it out", Exit.USAGE)
    files = {
        "config": config, "trust": trust, "roots": roots, "cert": cert, "key": key, "psk": psk,
        "update_key": update_key,
    }  # fmt: skip
    given = {name: path for name, path in files.items() if path is not None}
    for path in given.values():
        if not path.is_file():
            raise Failure(f"{path} is no file", "it is absent or a folder", "check the path", Exit.USAGE)
    if board or given:
        if device or everything:
            raise Failure(
                "a device of a project has its files from there",
                f"--{'board' if board else next(iter(given)).replace('_', '-')} is given",
                "leave the device out, or the file options", Exit.USAGE,
            )  # fmt: skip
        jobs = [deploy_jobs.from_files(board, given, port)]
    else:
        jobs = deploy_jobs.from_project(device, everything, port)
    jobs = [replace(job, frozen=frozen) for job in jobs]
    options = trees.Options(wait_s=None if no_wait else wait, delete=delete, dry_run=dry_run)
    if watch:
        deploy_jobs.watch(jobs, options, typer.echo)
    else:
        deploy_jobs.run(jobs, options, typer.echo)
