"""Puts the firmware on a board: compile, lay out, copy by mpremote, check what arrived."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from host_tools import boards, certs, root_store, umqtt, update_keys
from host_tools import psk as shared_keys
from host_tools.failure import Exit, Failure
from host_tools.mpy import compile_source
from host_tools.paths import FIRMWARE

DEFAULT_BOARD = "pico_w"
BOARD_PSK = "device.psk"
BOARD_UPDATE = update_keys.PUBLIC
_COPY_TIMEOUT_S = 300
_BUSY = (
    "in use by another",
    "failed to access",
    "busy",
    "could not exclusively lock",
    "resource temporarily unavailable",
)
# mpremote interrupts the board's program once; where that falls into its start it may be lost. Nothing has run then.
_NOT_STOPPED = "could not enter raw repl"
_ATTEMPTS = 3
_ABSENT = ("no such file", "no device found", "could not open port", "cannot find")


def _compile(source: Path, name: str, out: Path, abi: str | None = None) -> Path:
    out.parent.mkdir(parents=True, exist_ok=True)
    out.write_bytes(compile_source(source.read_bytes(), name, abi))
    return out


def build_firmware(out: Path, source: Path = FIRMWARE / "rootlet", abi: str | None = None) -> list[Path]:
    """Compile the firmware package.

    Args: out: folder for the .mpy files. source: the package. abi: .mpy version, see mpy.abi; the newest if None.
    Returns the .mpy files. Raises Failure naming the file and the compiler's message.
    """
    files = sorted(source.glob("*.py"))
    return [_compile(path, f"rootlet/{path.name}", out / f"{path.stem}.mpy", abi) for path in files]


def _put(source: Path, target: Path, secret: bool = False) -> None:
    """Copy one file into the tree; a secret is private from its first byte on."""
    mode = 0o600 if secret else 0o644
    target.unlink(missing_ok=True)
    with os.fdopen(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as f:
        f.write(source.read_bytes())


def _check_config(path: Path) -> dict[str, Any]:
    from rootlet import config
    from rootlet.errors import RootletError

    try:
        checked: dict[str, Any] = config.load(str(path))
    except RootletError as e:
        raise Failure(f"{path} is wrong", e.fact, e.fix) from None
    return checked


def _check_ble(facts: boards.Board, path: Path) -> None:
    """Refuse what this board's Bluetooth cannot do. Raises Failure."""
    from host_tools import project_ble
    from host_tools.toml_lines import dotted

    ble = _check_config(path)["ble"]
    bad = project_ble.refused(facts, ble) if ble else None
    if bad:
        raise Failure(f"{path} is not for {facts['id']}", f"{dotted(bad[0])}: {bad[1]}", bad[2], Exit.USAGE)


def check_identity(cert: Path, key: Path) -> None:
    """Refuse a CA's private key on a board, and a key that is not the certificate's."""
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_der_private_key

    fix = "rootlet ca issue device ID, and give its .crt.der and .key.der"
    if key.name.startswith("ca.key"):
        raise Failure("a CA's private key never goes onto a board", f"{key} is one by its name", fix)
    try:
        certificate = x509.load_der_x509_certificate(cert.read_bytes())
        private = load_der_private_key(key.read_bytes(), None)
    except FileNotFoundError as e:
        raise Failure("the device's certificate or key is absent", f"no file {e.filename}", fix) from None
    except (ValueError, TypeError):
        raise Failure(
            "the device's certificate or key cannot be read", f"{cert} or {key} is not plain DER", fix
        ) from None
    try:
        is_ca = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except x509.ExtensionNotFound:
        is_ca = False
    if is_ca:
        raise Failure("a CA's private key never goes onto a board", f"{cert} is a CA certificate", fix)

    def spki(public: object) -> bytes:
        return public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)  # type: ignore[attr-defined, no-any-return]

    if spki(private.public_key()) != spki(certificate.public_key()):
        raise Failure("certificate and key do not belong together", f"{key} is not the key of {cert}", fix)


def _check_trust(trust: Path | None, roots: Path | None) -> None:
    if trust:
        certs.check_module(trust)
    if roots:
        root_store.opened(roots)


def _check_device(device: str, cert: Path) -> None:
    """The broker's access list goes by the certificate's name: under another one every reading is lost in silence."""
    from cryptography import x509

    names = x509.load_der_x509_certificate(cert.read_bytes()).subject.get_attributes_for_oid(x509.NameOID.COMMON_NAME)
    named = str(names[0].value) if names else ""
    if named != device:
        raise Failure(
            f"the certificate is for '{named}', the configuration for '{device}'",
            "the broker's access list goes by the certificate's name",
            f'rootlet ca issue device {device}, or "device": "{named}" in the configuration',
            Exit.USAGE,
        )


def check(
    *,
    config: Path | None = None,
    trust: Path | None = None,
    roots: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    psk: Path | None = None,
    update_key: Path | None = None,
) -> None:
    """Refuse what must not, or cannot usefully, go onto a board; arguments as of stage(). Raises Failure."""
    if config:
        checked = _check_config(config)
        if psk and checked["mqtt"]["psk"] != BOARD_PSK:
            fix = f'"psk": "{BOARD_PSK}" in mqtt of {config}'
            raise Failure("the configuration does not use the key", f"mqtt.psk is not {BOARD_PSK}", fix, Exit.USAGE)
    _check_trust(trust, roots)
    if cert and key:
        check_identity(cert, key)
        if config:
            _check_device(checked["device"], cert)
    if psk:
        shared_keys.check_raw(psk)
    if update_key:
        update_keys.check_public(update_key)
        if config and checked["update"]["key"] != BOARD_UPDATE:
            fix = f'"update": {{"key": "{BOARD_UPDATE}"}} in {config}'
            raise Failure(
                "the configuration does not use the update key", f"update.key is not {BOARD_UPDATE}", fix, Exit.USAGE
            )


def stage(
    out: Path,
    *,
    board: str = DEFAULT_BOARD,
    config: Path | None = None,
    trust: Path | None = None,
    roots: Path | None = None,
    cert: Path | None = None,
    key: Path | None = None,
    psk: Path | None = None,
    update_key: Path | None = None,
    abi: str | None = None,
    frozen: bool = False,
) -> Path:
    """Lay out what goes onto the board's file system.

    Args:
        out: folder for the tree; it must be absent or empty. board: an id of boards/.
        config: configuration, checked here. trust: cert module, .py or .mpy. roots: root store.
        cert, key: the device's certificate and private key, DER. psk: its raw pre-shared key, in place of those.
        update_key: public key of remote updates, see update_keys.
        abi: the .mpy version that the board loads, see mpy.abi; the newest if None.
        frozen: its build of MicroPython has the packages in it (boards/manifest.py).
    Returns out. Raises Failure.
    """
    facts = boards.load(board)
    check(config=config, trust=trust, roots=roots, cert=cert, key=key, psk=psk, update_key=update_key)
    if config:
        _check_ble(facts, config)
    if out.exists() and any(out.iterdir()):
        raise Failure(f"{out} is not empty", "files of an earlier run would go onto the board too", f"rm -r {out}")
    out.mkdir(mode=0o700, parents=True, exist_ok=True)
    if not frozen:
        build_firmware(out / "rootlet", abi=abi)
        _compile(umqtt.fetch() / "umqtt" / "simple.py", "umqtt/simple.py", out / "umqtt" / "simple.mpy", abi)
    for name in ("boot.py", "main.py"):
        _put(FIRMWARE / name, out / name)
    (out / "board.json").write_text(json.dumps(boards.on_board(facts)))
    if trust:
        _put(trust, out / f"trust_roots{trust.suffix}")
    if roots:
        _put(roots, out / "roots.bin")
    if config:
        _put(config, out / "config.json", secret=True)
    if cert and key:
        _put(cert, out / "device.crt.der")
        _put(key, out / "device.key.der", secret=True)
    if psk:
        _put(psk, out / BOARD_PSK, secret=True)
    if update_key:
        _put(update_key, out / BOARD_UPDATE)
    return out


def _mpremote(port: str, *arguments: str, timeout_s: float = _COPY_TIMEOUT_S, cwd: Path | None = None) -> str:
    """Run mpremote; its failures become Failure with an exit code by kind."""
    command = [sys.executable, "-m", "mpremote", "connect", port, *arguments]
    try:
        for _ in range(_ATTEMPTS):
            done = subprocess.run(
                command, capture_output=True, text=True, errors="replace", timeout=timeout_s, check=False, cwd=cwd
            )
            if not done.returncode or _NOT_STOPPED not in (done.stderr + done.stdout).lower():
                break
    except subprocess.TimeoutExpired:
        raise Failure(
            f"the board on {port} does not answer",
            f"mpremote was still waiting after {timeout_s:.0f} s",
            "unplug the board, plug it in again and repeat",
        ) from None
    if done.returncode == 0:
        return done.stdout
    text = done.stderr + done.stdout
    last = (text.strip().splitlines() or ["mpremote gave no reason"])[-1][:200]
    low = text.lower()
    if any(word in low for word in _BUSY):
        raise Failure(f"{port} is busy", last, f"lsof {port}   (close what holds it: a REPL, an IDE)", Exit.NO_DEVICE)
    if any(word in low for word in _ABSENT) and "traceback" not in low:
        raise Failure(f"no board on {port}", last, "rootlet boards   (lists the ports that are there)", Exit.NO_DEVICE)
    raise Failure(f"the board on {port} refused", last, f"mpremote connect {port} repl")


def run_on_board(port: str, script: Path, timeout_s: float = 60) -> str:
    """Run a script on the board (after a soft reset) and return what it prints."""
    return _mpremote(port, "run", str(script), timeout_s=timeout_s)


def copy_to_board(port: str, tree: Path) -> list[str]:
    """Make a staged tree the version that the board starts next; each file is read back by its SHA-256.

    Args: port: serial port or pseudo-terminal.
    Returns the names that went over the wire. Raises Failure.
    """
    from host_tools import trees

    board = trees.ask(port)
    made = trees.plan(board, tree)
    if not made.unchanged:
        trees.apply(board, made)
    return sorted(made.sent)


def reset(port: str) -> None:
    """Restart the board, so that it runs what is now on it."""
    _mpremote(port, "reset", timeout_s=30)
