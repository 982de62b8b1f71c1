"""Secrets of a project: from the environment, a command, or secrets.toml. They are in no error, no repr and no log."""

import difflib
import os
import re
import selectors
import shlex
import signal
import stat
import subprocess
import time
import tomllib
from dataclasses import dataclass, field
from pathlib import Path

from host_tools import toml_lines
from host_tools.failure import Exit, Failure

FILE = "secrets.toml"
PLACEHOLDER = "CHANGE-ME"
# The keys whose values are secrets, and what each is checked as until it is asked for.
KEYS = {"password": "a secret", "bindkey": "0" * 32, "irk": "0" * 32}
_MOST_BYTES = 1 << 20
_LONGEST = 1024
_TIMEOUT_S = 10.0


@dataclass(frozen=True)
class Secret:
    """A secret by its name; `key` is where the project file asks for it, such as wifi.networks[0].password."""

    name: str
    key: str


def last(key: str) -> str:
    """The key itself: "password" of wifi.networks[0].password."""
    return key.rpartition(".")[2]


def variable(name: str) -> str:
    """The environment variable of a secret: wifi-home is in ROOTLET_SECRET_WIFI_HOME."""
    return "ROOTLET_SECRET_" + re.sub(r"[^A-Z0-9]", "_", name.upper())


@dataclass
class Secrets:
    """Where secrets come from. Args: folder: of secrets.toml. command: prints the secret whose name it is given."""

    folder: Path
    command: str | None = None
    _file: dict[str, str] | None = field(default=None, repr=False)
    _lines: dict[toml_lines.Path, int] = field(default_factory=dict, repr=False)
    _asked: dict[str, str] = field(default_factory=dict, repr=False)

    def get(self, secret: Secret) -> tuple[str, str]:
        """The secret and where it was found, for errors. Raises Failure; the value is never in it."""
        name = variable(secret.name)
        if name in os.environ:
            value, where = os.environ[name], f"the environment variable {name}"
        elif self.command is not None:
            if secret.name not in self._asked:
                self._asked[secret.name] = ask(self.command, secret.name)
            value, where = self._asked[secret.name], "what --secret-cmd printed"
        else:
            value, where = self._from_file(secret), self._where(secret.name)
        if not value or value.startswith(PLACEHOLDER):
            because = f"{secret.key} needs it, and {'it is empty' if not value else 'the placeholder is still there'}"
            raise Failure(f"{where}: the secret {secret.name} is not filled in", because, self._fix(secret.name),
                          Exit.USAGE)  # fmt: skip
        return value, where

    def _where(self, name: str) -> str:
        return f"{self.folder / FILE}, line {self._lines.get((name,), 1)}"

    def _fix(self, name: str) -> str:
        return f'{name} = "…" in {self.folder / FILE}, or set {variable(name)}'

    def _from_file(self, secret: Secret) -> str:
        if self._file is None:
            self._file = self._read()
        if secret.name in self._file:
            return self._file[secret.name]
        near = difflib.get_close_matches(secret.name, self._file, 1)
        because = f"{secret.key} needs it"
        if near:
            because += f"; line {self._lines.get((near[0],), 1)} has {near[0]}"
        raise Failure(f"{self.folder / FILE}: there is no secret {secret.name}", because, self._fix(secret.name),
                      Exit.USAGE)  # fmt: skip

    def _read(self) -> dict[str, str]:
        path = self.folder / FILE
        try:
            with path.open("rb") as stream:
                mode = os.fstat(stream.fileno()).st_mode
                data = stream.read(_MOST_BYTES + 1)
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise Failure(f"cannot read {path}", error.strerror or "it cannot be opened", f"ls -l {path}") from None
        if mode & (stat.S_IRWXG | stat.S_IRWXO):
            because = f"its mode is {stat.S_IMODE(mode):04o}, it must be 0600"
            raise Failure(f"others can read {path}", because, f"chmod 600 {shlex.quote(str(path))}", Exit.USAGE)
        line, table, text = 0, {}, ""
        try:
            text = data.decode()
            table = tomllib.loads(text)
        except (UnicodeDecodeError, RecursionError):
            line = 1
        except tomllib.TOMLDecodeError as error:
            # What tomllib says may quote the text, which is secret: only the line is passed on.
            found = re.search(r"\(at line (\d+)", str(error))
            line = int(found[1]) if found else text.count("\n") + 1
        if line or len(data) > _MOST_BYTES:
            raise Failure(f"{path}, line {line or 1}: this is not TOML", "a line is: name = \"secret\", in UTF-8",
                          f"correct line {line or 1} of {path}", Exit.USAGE)  # fmt: skip
        self._lines = toml_lines.lines(text)
        for name, value in table.items():
            if not isinstance(value, str):
                # A name in the wrong place may be a secret too.
                raise Failure(f"{self._where(name)}: this is not a text", "a line is: name = \"secret\", and no tables",
                              f"correct that line of {path}", Exit.USAGE)  # fmt: skip
        return table


def ask(command: str, name: str, timeout_s: float = _TIMEOUT_S) -> str:
    """Run a command with a secret's name as its last argument; the first line that it prints is the secret.

    Args: command: split as a shell would, but run without one. timeout_s: then it is stopped.
    Raises: Failure, without a word of what the command printed.
    """
    try:
        words = shlex.split(command)
    except ValueError:
        words = []
    fix = f"try it by hand: {words[0] if words else 'pass show'} … {name}"
    if not words:
        because = "it is empty, or a quote is not closed"
        raise Failure("--secret-cmd cannot be used", because, "--secret-cmd 'pass show'", Exit.USAGE)
    try:
        process = subprocess.Popen(
            [*words, name], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            start_new_session=True,
        )  # fmt: skip
    except OSError as error:
        because = f"{words[0]}: {error.strerror or 'it cannot be run'}"
        raise Failure("--secret-cmd cannot be run", because, fix, Exit.USAGE) from None
    assert process.stdout is not None  # noqa: S101
    data, late = b"", False
    end = time.monotonic() + timeout_s
    with process.stdout as pipe, selectors.DefaultSelector() as selector:
        selector.register(pipe, selectors.EVENT_READ)
        while len(data) <= _LONGEST:
            if not selector.select(max(0.0, end - time.monotonic())):
                late = True
                break
            piece = os.read(pipe.fileno(), _LONGEST + 1)
            if not piece:
                break
            data += piece
    try:
        code = process.wait(0 if late else max(0.1, end - time.monotonic()))
    except subprocess.TimeoutExpired:
        late = late or len(data) <= _LONGEST
        os.killpg(process.pid, signal.SIGKILL)
        code = process.wait()
    if late or code or len(data) > _LONGEST:
        because = f"it ended with exit code {code}"
        if late or len(data) > _LONGEST:
            because = f"it took longer than {timeout_s:g} s" if late else f"it printed more than {_LONGEST} bytes"
        raise Failure(f"--secret-cmd gave no secret {name}", because, fix)
    try:
        return data.decode().split("\n")[0].rstrip("\r")
    except UnicodeDecodeError:
        raise Failure(f"--secret-cmd gave no secret {name}", "what it printed is not UTF-8", fix) from None
