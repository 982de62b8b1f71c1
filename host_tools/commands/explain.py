"""`rootlet explain`: what an error means and what to do."""

import sys
from pathlib import Path
from typing import Annotated

import typer


def explain(
    text: Annotated[
        list[str] | None, typer.Argument(help="A code, a number, or a pasted line; - reads it from standard input.")
    ] = None,
    list_all: Annotated[bool, typer.Option("--list", help="All codes.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="For machines: an array, best first.")] = False,
    markdown: Annotated[bool, typer.Option("--markdown", hidden=True)] = False,
) -> None:
    """Say what an error code, a number or a line of a console or log means, and what to do.

    Example: rootlet explain "OSError: (-30592, 'MBEDTLS_ERR_SSL_FATAL_ALERT_MESSAGE')"
    """
    from host_tools import explain as table
    from host_tools import masking, ports
    from host_tools.failure import Exit, Failure

    query = " ".join(text or [])
    if query == "-":
        query = sys.stdin.read(table.LARGEST + 1)
    if query.strip():  # a pasted line may hold a password; what is said of it must not
        masker = masking.Masker(masking.known(ports.any_project(), Path()))
        query = "\n".join(masker.text(line) for line in query.split("\n"))
    if markdown:
        from host_tools.explain_page import page

        typer.echo(page(), nl=False)
    elif list_all:
        from host_tools.catalogue import ENTRIES

        every = [table.Found(code, code) for code in ENTRIES]
        typer.echo(table.as_json(every) if as_json else table.listing())
    elif not query.strip():
        raise Failure("nothing to explain", "no text was given", "rootlet explain CODE, or --list", Exit.USAGE)
    else:
        found = table.explain(query)
        typer.echo(table.as_json(found) if as_json else table.render(found))
