"""The `rootlet` application: registers every command, nothing else."""

import typer

from host_tools.commands import ble, ca, certs, psk
from host_tools.commands.bench import bench
from host_tools.commands.boards import boards
from host_tools.commands.broker import broker
from host_tools.commands.capture import capture
from host_tools.commands.dashboard import dashboard
from host_tools.commands.demo import demo
from host_tools.commands.deploy import deploy
from host_tools.commands.doctor import doctor
from host_tools.commands.explain import explain
from host_tools.commands.export import export
from host_tools.commands.flash import flash
from host_tools.commands.inspect import inspect
from host_tools.commands.logs import logs
from host_tools.commands.new import new
from host_tools.commands.provision import provision
from host_tools.commands.publish_update import publish_update
from host_tools.commands.repl import repl
from host_tools.commands.send import send
from host_tools.commands.sim import sim
from host_tools.commands.watch import watch

app = typer.Typer(
    help="Verified TLS for MicroPython boards. Start with `rootlet demo`. Add --debug to any command for a traceback.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in (
    demo, doctor, boards, flash, new, provision, deploy, publish_update, logs, repl, watch, dashboard, send, inspect,
    capture, sim, broker, bench, export,
):  # fmt: skip
    app.command()(command)
# Numbers may be negative, so an unknown option is taken as text.
app.command(context_settings={"ignore_unknown_options": True})(explain)
app.add_typer(ble.app, name="ble")
app.add_typer(ca.app, name="ca")
app.add_typer(certs.app, name="certs")
app.add_typer(psk.app, name="psk")
