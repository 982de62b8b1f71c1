"""docs/api.md, made from the docstrings: what a program of one's own may use, on a board and in tests on a host.

Make it again with: python -m host_tools.api_page > docs/api.md
"""

import ast
import copy
import re
from collections.abc import Iterator
from dataclasses import dataclass

from .paths import ROOT

Function = ast.FunctionDef | ast.AsyncFunctionDef
Row = tuple[str, str, tuple[str, ...]]
# File, how it is imported, and which of its names (the others are not for programs of one's own).
ON_A_BOARD: tuple[Row, ...] = (
    ("firmware/rootlet/errors.py", "rootlet.errors", ("RootletError",)),
    ("firmware/rootlet/wifi.py", "rootlet.wifi", ("start", "join", "address", "rssi", "restart")),
    ("firmware/rootlet/clock.py", "rootlet.clock", ("Clock",)),
    ("firmware/rootlet/trust.py", "rootlet.trust", ("load", "Trust", "pin_text", "pin_bytes")),
    ("firmware/rootlet/psk.py", "rootlet.psk", ("trust",)),
    ("firmware/rootlet/https.py", "rootlet.https", ("get", "post", "Response")),
    ("firmware/rootlet/mqtt.py", "rootlet.mqtt", ("Client",)),
    ("firmware/rootlet/tls.py", "rootlet.tls", ("connect",)),
    ("firmware/rootlet/stream.py", "rootlet.stream", ("Stream",)),
    ("firmware/rootlet/outbox.py", "rootlet.outbox", ("Outbox",)),
    ("firmware/rootlet/backoff.py", "rootlet.backoff", ("Backoff",)),
    ("firmware/rootlet/sensors.py", "rootlet.sensors", ("make", "read")),
    ("firmware/rootlet/reading.py", "rootlet.reading", ("reading",)),
    ("firmware/rootlet/config.py", "rootlet.config", ("load", "check")),
)
ON_A_HOST: tuple[Row, ...] = (
    ("host_tools/failure.py", "host_tools.failure", ("Failure",)),
    ("host_tools/ca.py", "host_tools.ca", ("init", "load", "ca_certificate", "find", "Authority", "Issued")),
    ("host_tools/certs.py", "host_tools.certs", ("embed", "Embedded", "check_module")),
    ("host_tools/broker.py", "host_tools.broker", ("Broker",)),
    ("host_tools/watch.py", "host_tools.watch", ("Watcher",)),
    ("host_tools/servers.py", "host_tools.servers", ("HttpsServer", "SntpServer")),
    ("host_tools/sim/board.py", "host_tools.sim.board", ("VirtualBoard", "read_script")),
    ("host_tools/sim/air.py", "host_tools.sim.air", ("Air", "Peripheral")),
    ("host_tools/chaos.py", "host_tools.chaos", ("Wire", "Faults")),
)
# Given by functions, not made by a program itself: their arguments are nobody's concern.
GIVEN = ("Response", "Stream", "Issued", "Authority", "Embedded")
_HEAD = """# The interfaces for programs of your own

<!-- Made by `python -m host_tools.api_page > docs/api.md`; edit the docstrings instead. -->

First what runs [on a board](#on-a-board), under MicroPython, for a `main.py` of your own in place of the gateway;
then what runs [on a host](#on-a-host), for tests of such a program without a board. Names that are not here may change
at any time.

Times end in `_s` or `_ms`. Every wait has a deadline. On a board whatever goes wrong is a `RootletError` with a code
that [troubleshooting](troubleshooting.md) explains; on a host it is a `Failure`."""


@dataclass(frozen=True)
class Entry:
    """A public function, method or class: name as it is written, signature, and the docstring that tells of both.

    node: where it is defined. told: the docstrings in which its arguments and errors may be named.
    """

    name: str
    signature: str
    doc: str
    node: ast.AST
    told: str
    arguments: tuple[str, ...]
    level: int = 3


def _arguments(function: Function | None) -> tuple[str, ...]:
    if function is None:
        return ()
    given = function.args
    every = [*given.posonlyargs, *given.args, given.vararg, *given.kwonlyargs, given.kwarg]
    return tuple(arg.arg for arg in every if arg and arg.arg != "self" and not arg.arg.startswith("_"))


def _signature(function: Function | None) -> str:
    """Names and defaults, without the types: the docstring tells what they are."""
    if function is None:
        return "()"
    given = copy.deepcopy(function.args)
    for node in ast.walk(given):
        if isinstance(node, ast.arg):
            node.annotation = None
    text = ast.unparse(given)
    return "(" + re.sub(r"^self(, )?|, _\w+=[^,]+$", "", text) + ")"


def _decorators(node: Function) -> list[str]:
    return [ast.unparse(each) for each in node.decorator_list]


def _class(module: str, node: ast.ClassDef) -> Iterator[Entry]:
    methods = {each.name: each for each in node.body if isinstance(each, Function)}
    doc = ast.get_docstring(node) or ""
    init = methods.get("__init__")
    fields = [
        each.target.id for each in node.body if isinstance(each, ast.AnnAssign) and isinstance(each.target, ast.Name)
    ]
    made = _signature(init) if init or not fields else "(" + ", ".join(fields) + ")"
    arguments = _arguments(init) if init else tuple(fields)
    if node.name in GIVEN:
        made, arguments = "", ()
    yield Entry(f"{module}.{node.name}", made, doc, init or node, doc, arguments)
    for name, method in methods.items():
        setter = any(text.endswith(".setter") for text in _decorators(method))
        if name.startswith("_") or setter:
            continue
        own = ast.get_docstring(method) or ""
        signature = "" if "property" in _decorators(method) else _signature(method)
        yield Entry(f"{node.name}.{name}", signature, own, method, doc + own, _arguments(method), 4)


def entries(path: str, module: str, names: tuple[str, ...]) -> Iterator[Entry]:
    """The entries of one file, in the order of `names`.

    Args: path: from the root of the repository. module: how it is imported. names: functions and classes.
    Raises: KeyError for a name that is not there.
    """
    tree = ast.parse((ROOT / path).read_text())
    nodes = {node.name: node for node in tree.body if isinstance(node, Function | ast.ClassDef)}
    short = module.rpartition(".")[2]
    for name in names:
        node = nodes[name]
        if isinstance(node, ast.ClassDef):
            yield from _class(short, node)
        else:
            doc = ast.get_docstring(node) or ""
            yield Entry(f"{short}.{name}", _signature(node), doc, node, doc, _arguments(node))


def _prose(doc: str) -> str:
    """A docstring as Markdown: lines below `Args:` as a list, all else as it stands."""
    out: list[str] = []
    listing = False
    for line in doc.split("\n"):
        safe = line.replace("\\", "\\\\").replace("*", "\\*").replace("<", "&lt;")
        if listing and line.startswith("        "):
            out[-1] += " " + safe.strip()
        elif listing and line.startswith("    "):
            out.append("- " + safe.strip())
        elif listing and line:
            out += ["", safe]
            listing = False
        else:
            if line.startswith(("Returns", "Raises")) and out and out[-1]:
                out.append("")
            out.append(safe)
            if line in ("Args:", "Attributes:"):
                listing = True
                out.append("")
    return "\n".join(out)


def _module(path: str, module: str, names: tuple[str, ...]) -> Iterator[str]:
    about = ast.get_docstring(ast.parse((ROOT / path).read_text())) or ""
    yield f"## `{module}`\n\n{_prose(about.split(chr(10) * 2)[0])}"
    for entry in entries(path, module, names):
        awaited = "await " if isinstance(entry.node, ast.AsyncFunctionDef) else ""
        yield f"{'#' * entry.level} `{awaited}{entry.name}{entry.signature}`\n\n{_prose(entry.doc)}"


def page() -> str:
    """The page as Markdown."""
    parts = [_HEAD, "# On a board"]
    for row in ON_A_BOARD:
        parts += _module(*row)
    parts.append("# On a host")
    for row in ON_A_HOST:
        parts += _module(*row)
    return "\n\n".join(parts) + "\n"


if __name__ == "__main__":
    print(page(), end="")
