"""What must be there before a block runs, by the names that the markers use."""

from collections.abc import Callable

from host_tools import ca as cas
from host_tools import project as projects
from host_tools import project_new, provision
from host_tools.broker import Broker
from host_tools.servers import SntpServer
from host_tools.sim.board import VirtualBoard
from tests.docs.pages import Page

_PASSWORD = "lab-password"


def folder(page: Page) -> None:
    """An empty folder."""


def ca(page: Page) -> None:
    """ca-data: a CA, server certificates for localhost and broker.home, device certificates."""
    if (page.cwd / "ca-data").exists():
        return
    authority = cas.init(page.cwd / "ca-data", subject="/CN=Home CA")
    _issue(authority)
    for name in ("pico-1", "observer", "operator"):
        authority.issue_device(name)


def _issue(authority: cas.Authority) -> None:
    authority.issue_server(["localhost"], ips=["127.0.0.1"])
    authority.issue_server(["broker.home", "broker.example.org"], ips=["192.168.1.10", "127.0.0.1"])


def project(page: Page) -> None:
    """A project's folder after `rootlet new`, filled in and provisioned, with the broker's certificate."""
    if projects.find(page.cwd):
        return
    project_new.new(page.cwd / "garden", page.kind)
    page.cwd = page.cwd / "garden"
    fill_in(page)
    made = projects.load(page.cwd)
    provision.run(made, made.devices, provision.Options(jobs=1), lambda _: None)
    _issue(cas.load(page.cwd / "ca-data"))


def fill_in(page: Page) -> None:
    """What a page asks to fill in (and the ports of this machine)."""
    sntp = page.stack.enter_context(SntpServer())
    path = page.cwd / projects.FILE
    text = path.read_text()
    for old, new in (
        ('country = "XX"', 'country = "FR"'),
        ('host = "broker.home"', f'host = "broker.home"\nport = {page.ports["8883"]}'),
        ("# [clock]", "[clock]"),
        ('# servers = ["192.168.1.1"]', f'servers = ["127.0.0.1:{sntp.port}"]'),
        ("every_s = 10", "every_s = 1"),
    ):
        assert old in text, old
        text = text.replace(old, new)
    path.write_text(text)
    secrets = page.cwd / "secrets.toml"
    secrets.write_text(secrets.read_text().replace("CHANGE-ME", _PASSWORD))


def broker(page: Page) -> None:
    """A broker that runs, with the certificate of broker.home and localhost."""
    ca(page)
    issued = page.cwd / "ca-data" / "issued"
    name = "server-broker.home"
    if page.brokers:
        return
    page.brokers = True
    port = page.ports["8883"]
    page.stack.enter_context(
        Broker(
            issued / f"{name}.crt.pem",
            issued / f"{name}.key.pem",
            page.cwd / "ca-data" / "ca.crt.pem",
            workdir=page.top / "broker",
            port=port,
            home_assistant="homeassistant",
        )
    )


def board(page: Page) -> None:
    """A virtual board, with nothing on its flash, that seems to be plugged in."""
    if page.device:
        return
    flash = page.top / "flash"
    flash.mkdir()
    script = {
        "wifi": {"networks": {"my-wifi": {"password": _PASSWORD, "join_ms": 50}}, "scan_ms": 50},
        "dns": dict.fromkeys(page.here["names"], "127.0.0.1"),
    }
    page.device = page.stack.enter_context(VirtualBoard(flash, board=page.kind, script=script))
    page.here["boards"] = [page.device.port]
    page.write_here()
    page.replaced["/dev/ttyACM0"] = page.replaced["PORT"] = page.device.port


def readings(page: Page) -> None:
    """A project whose board has the firmware and publishes to a broker."""
    project(page)
    broker(page)
    board(page)
    if not page.deployed:
        page.deployed = True
        page.sh("rootlet deploy")


SCENES: dict[str, Callable[[Page], None]] = {
    scene.__name__: scene for scene in (folder, ca, project, broker, board, readings)
}
