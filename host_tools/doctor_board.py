"""What the doctor looks at on a board that may be asked."""

import time
from collections.abc import Iterator

from host_tools import ask_board, boards
from host_tools.certinfo import printable
from host_tools.doctor import Row, Setup
from host_tools.find_board import Found

OLDEST = (1, 24)
LEAST_FLASH = 32 * 1024  # a rotation writes a second identity and trust beside the first
LEAST_HEAP = 64 * 1024  # where the board file does not tell
_WITHIN_S = 30 * 86400
_DAY_S = 86400


def look(found: Found, setup: Setup) -> Iterator[Row]:
    """Ask a board, and judge each answer. Raises Failure where it does not answer."""
    told = ask_board.ask(found.port, health=True)
    who = f"{told.machine or 'unknown board'} on {found.port}, device {told.device or 'unknown'}"
    yield Row("ok", "board", who)
    yield from _device(told, setup)
    yield _micropython(told)
    yield _room(
        "flash", told.flash_free, LEAST_FLASH, f"remove what you do not need: mpremote connect {found.port} fs ls"
    )
    yield _room("heap", told.heap_free, _heap_needed(told), "keep boot.py small; use .mpy files: rootlet deploy")
    yield from _firmware(told, setup)


def _device(told: ask_board.Board, setup: Setup) -> Iterator[Row]:
    wanted = [device.id for device in setup.devices]
    if told.device is None or not wanted or told.device in wanted:
        return
    fact = f"it is {told.device}, not {' or '.join(wanted[:5])}"
    yield Row(
        "problem" if setup.named else "skip", "board", fact, "rootlet boards --ask   (lists which board is which)"
    )


def _micropython(told: ask_board.Board) -> Row:
    said = told.micropython or "unknown"
    try:
        version = tuple(int(part) for part in said.split("-")[0].split(".")[:2])
    except ValueError:
        version = ()
    if version >= OLDEST:
        return Row("ok", "MicroPython", said)
    fix = "put a newer MicroPython on the board: https://micropython.org/download/"
    return Row("problem", "MicroPython", f"{said}; {OLDEST[0]}.{OLDEST[1]} or newer is needed", fix)


def _heap_needed(told: ask_board.Board) -> int:
    for board in boards.all_boards():
        if board["port"] == told.platform and board["chip"] == told.chip and board["tls"]["heap"] == "gc":
            return board["tls"]["free_bytes"]
    return LEAST_HEAP


def _room(name: str, free: int | None, least: int, fix: str) -> Row:
    if free is None:
        return Row("problem", name, "the board does not tell how much is free", "restart it and repeat")
    fact = f"{free // 1024} KB free"
    return Row("ok", name, fact) if free >= least else Row("problem", name, f"{fact}, {least // 1024} KB needed", fix)


def _firmware(told: ask_board.Board, setup: Setup) -> Iterator[Row]:
    from rootlet import __version__

    deploy = f"rootlet deploy --port {told.port}"
    if told.rootlet is None:
        yield Row("problem", "firmware", "Rootlet is not on the board", deploy)
        return
    if told.rootlet != __version__:
        yield Row("problem", "firmware", f"Rootlet {told.rootlet} on the board, {__version__} here", deploy)
    else:
        yield Row("ok", "firmware", f"Rootlet {told.rootlet}")
    health, faults = told.health or {}, told.faults or {}
    for name, check in (
        ("config", "board config"),
        ("trust", "trust"),
        ("clock", "clock floor"),
        ("identity", "identity"),
    ):
        if name in faults:
            yield _fault(check, faults[name])
    if health.get("config"):
        yield Row("ok", "board config", "valid")
    yield from _trust(health.get("trust"))
    yield from _clock(health.get("clock"), bool(health.get("trust")), told.port)
    yield from _identity(told, setup)


def _fault(check: str, fault: list[str]) -> Row:
    from rootlet.catalogue import CATALOGUE
    from rootlet.errors import words

    code, fact = fault[0], fault[-1]
    if code not in CATALOGUE:
        return Row("problem", check, f"{code}: {fact}", "rootlet deploy")
    what, fix = words(code)
    return Row("problem", check, f"{code}: {what}; {fact}", fix)


def _trust(told: object) -> Iterator[Row]:
    if isinstance(told, list) and len(told) == 2:
        store = ", and a root store" if told[1] else ""
        yield Row("ok", "trust", f"{told[0]} roots in the cert module{store}")


def _clock(told: object, trusted: bool, port: str) -> Iterator[Row]:
    from rootlet.dates import date

    if not (isinstance(told, list) and len(told) == 2 and all(isinstance(n, int) for n in told)) or not trusted:
        return
    floor = told[0]
    if floor > time.time() + _DAY_S:
        fact = f"the board believes no time before {date(floor)}, which is ahead of this machine's clock"
        yield Row(
            "problem",
            "clock floor",
            fact,
            f"if this machine's clock is right: mpremote connect {port} fs rm :clock.json",
        )
    else:
        yield Row("ok", "clock floor", date(floor))


def _identity(told: ask_board.Board, setup: Setup) -> Iterator[Row]:
    from host_tools.inspect import chain
    from rootlet.dates import date

    said = (told.health or {}).get("identity")
    if not isinstance(said, dict):
        return
    rotate = f"rootlet certs rotate {told.device or 'DEVICE'} --port {told.port}"
    if "psk" in said:
        if said["psk"]:
            yield Row("ok", "identity", f"a shared key of {said['psk']} B")
        else:
            yield Row(
                "problem",
                "identity",
                "the file of the shared key is absent",
                f"rootlet deploy --psk FILE --port {told.port}",
            )
        return
    try:
        der = ask_board.certificate(told)
    except ValueError:
        der = b""
    if der is None:
        yield Row("skip", "identity", "none: the configuration has no certificate and no shared key")
        return
    cert = chain.link(der).cert
    if cert is None:
        yield Row("problem", "identity", "the board's certificate cannot be read", rotate)
        return
    if said.get("match") is not True:
        yield Row("problem", "identity", "the private key is not the certificate's", rotate)
    left = int((cert.not_after - time.time()) // _DAY_S)
    name = printable(chain.link(der).label)
    fact = f"certificate '{name}' ends {date(cert.not_after)}, {left} days left"
    soon = cert.not_after < time.time() + _WITHIN_S
    yield Row("problem", "identity", fact, rotate) if soon else Row("ok", "identity", fact)
    if told.device and name != told.device:
        yield Row("problem", "identity", f"the certificate is for '{name}', the device is {told.device}", rotate)
