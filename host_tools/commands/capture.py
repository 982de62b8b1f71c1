"""`rootlet capture`: a TLS conversation in packets and in words."""

from pathlib import Path
from typing import Annotated

import typer

from host_tools.failure import Exit, Failure


def capture(
    command: Annotated[
        list[str] | None, typer.Argument(metavar="-- CLIENT COMMAND", help="The client; {port} becomes the port.")
    ] = None,
    demo: Annotated[bool, typer.Option("--demo", help="A virtual board publishes a reading (the default).")] = False,
    listen: Annotated[
        int | None, typer.Option(help="Port of the recording proxy on 127.0.0.1; 0: a free one.", min=0, max=65535)
    ] = None,
    server: Annotated[str, typer.Option(metavar="HOST:PORT", help="The server, on this machine.")] = "",
    out: Annotated[Path | None, typer.Option(help="Folder for the files; default build/capture.")] = None,
    keylog: Annotated[
        Path | None, typer.Option(help="Key log that the server or the client writes.", dir_okay=False)
    ] = None,
    tshark: Annotated[bool, typer.Option("--tshark", help="Decrypt with tshark, and show what was said.")] = False,
    protocol: Annotated[str, typer.Option(help="What the TLS carries, for --tshark: mqtt or http.")] = "mqtt",
    timeout: Annotated[float, typer.Option(help="End the client after so many seconds.", min=1)] = 600,
) -> None:
    """Capture a TLS conversation: a file for Wireshark, and each handshake message in words.

    Example: rootlet capture --tshark

    Example: rootlet capture --listen 9000 --server localhost:8883 -- mosquitto_pub -h localhost -p 9000 …
    """
    wrong = ""
    if command and (listen is None or not server):
        wrong = "a client command needs --listen and --server"
    elif (listen is not None or server or keylog) and not command:
        wrong = "--listen, --server and --keylog need a client command"
    elif demo and command:
        wrong = "--demo has a client of its own"
    if wrong:
        raise Failure(
            "these options do not fit together",
            wrong,
            "rootlet capture --demo, or rootlet capture --listen PORT --server HOST:PORT -- CLIENT COMMAND",
            Exit.USAGE,
        )
    from host_tools import capture as capturing
    from host_tools import tshark as analyser

    if protocol not in analyser.PROTOCOLS:
        raise Failure("no such protocol", f"{protocol!r} is not mqtt or http", "--protocol mqtt", Exit.USAGE)
    if tshark:
        analyser.program()
    folder = out or capturing.OUT
    if command:
        made = capturing.client(
            typer.echo, command, server, port=listen or 0, out=folder, key_log=keylog, timeout_s=timeout
        )
    else:
        made = capturing.demo(typer.echo, folder)
    capturing.report(typer.echo, made, decrypt=tshark, protocol=protocol)
