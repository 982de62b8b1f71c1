"""The `rootlet` application: registers every command, nothing else."""

import typer

app = typer.Typer(
    help="Verified TLS for MicroPython boards. Start with `rootlet demo`. Add --debug to any command for a traceback.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


@app.callback()
def root() -> None:
    """Verified TLS for MicroPython boards."""
