"""`rootlet inspect`: look at a TLS server as a board would."""

import json
from pathlib import Path
from typing import Annotated

import typer


def inspect(
    target: Annotated[str, typer.Argument(metavar="HOST[:PORT]", help="A TLS server; port 443 unless said.")],
    sni: Annotated[str | None, typer.Option("--sni", help="Ask for this name, and expect it.")] = None,
    ca: Annotated[
        Path | None, typer.Option("--ca", help="Trust anchors (PEM, DER, cert module); else certifi's.")
    ] = None,
    board: Annotated[str | None, typer.Option("--board", help="A board id; see `rootlet boards --known`.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="All of it, for machines.")] = False,
    timeout: Annotated[float, typer.Option("--timeout", min=0.1, max=300, help="Seconds a connection.")] = 10.0,
    save_root: Annotated[
        Path | None, typer.Option("--save-root", help="Write the root that a board needs to this new file, PEM.")
    ] = None,
) -> None:
    """Look at a TLS server: chain, verdicts, what a board needs, what will break and when.

    Example: rootlet inspect broker.example.org:8883 --ca ca-data/ca.crt.pem

    Exit code: 0 all good, 4 the verification fails, 1 no connection (or none that a board could make).
    """
    from cryptography.hazmat.primitives.serialization import Encoding

    from host_tools import inspect as looking
    from host_tools.failure import Failure
    from host_tools.inspect.dial import target as parse
    from host_tools.inspect.report import text
    from host_tools.safe_write import File, write_all
    from host_tools.x509_names import host_name

    host, port = parse(target)
    name = host_name(sni) if sni else None
    result = looking.inspect(host, port, sni=name, ca=ca, board=board, timeout=timeout)
    typer.echo(json.dumps(result, indent=2) if as_json else text(result))
    if save_root:
        root = looking.root_certificate(result, ca)
        if root is None:
            raise Failure("there is no root to save", "the chain ends in none that is known", "--ca with its root")
        write_all([File(save_root, root.public_bytes(Encoding.PEM))], force=False)
    raise typer.Exit(result["exit"])
