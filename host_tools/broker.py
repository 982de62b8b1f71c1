"""A broker with TLS and an access list: Mosquitto where installed, else the embedded amqtt."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from host_tools import limits
from host_tools import psk as shared_keys
from host_tools.failure import Exit, Failure
from host_tools.paths import ROOT
from host_tools.safe_write import PRIVATE, File, make_directory, write_all

Engine = Literal["auto", "mosquitto", "amqtt"]
_START_TIMEOUT_S = 20
_STOP_TIMEOUT_S = 10
_TRIES = 3
_QUEUE_BYTES = 64 << 20
_PSK_CIPHERS = "PSK-AES128-GCM-SHA256:PSK-AES256-GCM-SHA384"


def _program(name: str) -> str | None:
    """A program of the Mosquitto package; Debian keeps the broker in sbin, which is not on every PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")


def choose(engine: str) -> str:
    """The broker to use. Raises Failure where the one asked for is not installed."""
    if engine not in ("auto", "mosquitto", "amqtt"):
        raise Failure("no such broker", f"{engine!r} is not auto, mosquitto or amqtt", "rootlet broker --engine auto")
    if engine in ("auto", "mosquitto") and _program("mosquitto"):
        return "mosquitto"
    if engine == "mosquitto":
        raise Failure(
            "Mosquitto is not installed", "no program mosquitto", "apt-get install mosquitto, or --engine amqtt"
        )
    return "amqtt"


def _free_port(bind: str) -> int:
    with socket.socket() as s:
        s.bind((bind, 0))
        port: int = s.getsockname()[1]
        return port


def _is_prefix(text: str) -> bool:
    """Whether a text may begin topics in an access list, and never those of the devices."""
    found = re.fullmatch(r"[A-Za-z0-9_-]{1,32}(?:/[A-Za-z0-9_-]{1,32}){0,3}", text)
    return found is not None and text.partition("/")[0] != "rootlet"


class Broker:
    """A running broker; entering waits until it accepts connections, leaving ends its process.

    Args:
        cert, key: PEM files of the server (chain with the leaf first). ca: PEM file of the CA that devices come from.
        mtls: clients need a certificate of that CA; its common name is their identity.
        observers: identities that may read everything. operators: those that may also send commands.
        users: user to password, without mutual TLS.
        psk: folder of `rootlet psk`: a second listener, at psk_port, for devices with a pre-shared key. Mosquitto only.
        engine: "auto", "mosquitto" or "amqtt". bind: address; port: 0 takes a free one.
        workdir: folder for configuration and log.
        key_log: file that amqtt adds the secrets of each connection to, for `rootlet capture` only; it must exist,
            with mode 0600.
        home_assistant: prefix of Home Assistant's discovery topics: each device may write those that name it, observers
            and operators read all; None: nobody touches them.
        sessions: sessions that outlive their connections outlive an orderly end of the broker too. Mosquitto only.
    """

    def __init__(
        self,
        cert: Path,
        key: Path,
        ca: Path,
        *,
        workdir: Path,
        mtls: bool = True,
        observers: Iterable[str] = ("observer",),
        operators: Iterable[str] = ("operator",),
        users: dict[str, str] | None = None,
        psk: Path | None = None,
        psk_port: int = 0,
        engine: str = "auto",
        bind: str = "127.0.0.1",
        port: int = 0,
        key_log: Path | None = None,
        sessions: bool = False,
        home_assistant: str | None = None,
    ) -> None:
        if home_assistant is not None and not _is_prefix(home_assistant):
            because = f"{home_assistant[:60]!r} is no prefix of topics of its own: letters, digits, '-', '_' and '/'"
            fix = "rootlet broker --home-assistant homeassistant"
            raise Failure("the discovery topics cannot be opened", because, fix, Exit.USAGE)
        self._home_assistant = home_assistant
        self.engine = choose("mosquitto" if psk and engine == "auto" else engine)
        if key_log and self.engine != "amqtt":
            raise ValueError("only amqtt can write a key log")
        if psk and self.engine != "mosquitto":
            raise Failure(
                "amqtt has no pre-shared keys",
                "it stands on Python's ssl, which has had them since 3.13 only",
                "rootlet broker --engine mosquitto --psk DIR",
                Exit.USAGE,
            )
        if psk and not mtls:
            raise Failure(
                "pre-shared keys need named clients beside them",
                "without certificates the other port lets anybody read what the devices send",
                "--psk without --no-mtls",
                Exit.USAGE,
            )
        self._psk = psk
        self.psk_port = psk_port
        self._wanted_psk_port = psk_port
        self._key_log = key_log
        self._sessions = sessions
        self.port = port
        self._wanted_port = port
        self._bind = bind
        self._mtls = mtls
        self._files = {"cert": cert.resolve(), "key": key.resolve(), "ca": ca.resolve()}
        self._observers = list(observers)
        self._operators = list(operators)
        self._users = dict(users or {})
        self._dir = workdir / "broker"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def log(self) -> str:
        """The last 8 KB of what the broker logged."""
        try:
            return (self._dir / "log.txt").read_bytes()[-8192:].decode(errors="replace")
        except FileNotFoundError:
            return ""

    def _private(self, name: str, text: str) -> Path:
        path = self._dir / name
        write_all([File(path, text.encode(), PRIVATE)], force=True, keep_backup=False)
        return path

    def _mosquitto(self) -> list[str]:
        lines = [
            f"listener {self.port} {self._bind}",
            f"certfile {self._files['cert']}",
            f"keyfile {self._files['key']}",
            "tls_version tlsv1.2",
            *self._persistence(),
            "set_tcp_nodelay true",
            # A fleet that comes back sends all it kept, and an observer must get it all: many on their way to it, and
            # more in the queue. Bounded by bytes, for each client.
            "max_inflight_messages 1000",
            "max_queued_messages 200000",
            f"max_queued_bytes {_QUEUE_BYTES}",
            "max_packet_size 65536",
            "log_dest stderr",
            "log_type error",
            "log_type warning",
            "log_type notice",
        ]
        if os.geteuid() == 0:
            lines.append("user root")  # else it becomes user mosquitto, who cannot read a key of mode 0600
        if self._mtls:
            lines += [f"cafile {self._files['ca']}", "require_certificate true", "use_identity_as_username true"]
        elif self._users:
            lines += ["allow_anonymous false", f"password_file {self._passwords()}"]
        else:
            lines.append("allow_anonymous true")
        if self._mtls or self._users:
            acl = ["pattern write rootlet/%u/#", "pattern read rootlet/%u/cmd/#"]
            read = ["topic read rootlet/#"]
            if self._home_assistant:
                acl.append(f"pattern write {self._home_assistant}/sensor/%u/+/config")
                read.append(f"topic read {self._home_assistant}/#")
            for name in self._observers:
                acl += [f"user {name}", *read]
            for name in self._operators:
                acl += [f"user {name}", *read, "topic write rootlet/+/cmd"]
            lines.append(f"acl_file {self._private('acl.txt', chr(10).join(acl) + chr(10))}")
        if self._psk:
            lines += self._shared_keys(self._psk)
        path = self._private("mosquitto.conf", "\n".join(lines) + "\n")
        return [str(_program("mosquitto")), "-c", str(path)]

    def _persistence(self) -> list[str]:
        if not self._sessions:
            return ["persistence false"]
        return ["persistence true", f"persistence_location {self._dir.resolve()}/"]

    def _shared_keys(self, folder: Path) -> list[str]:
        """A listener that takes nothing but AEAD suites with a pre-shared key; the identity is the user of the ACL."""
        return [
            f"psk_file {self._private('psk.txt', shared_keys.mosquitto_lines(folder))}",
            f"listener {self.psk_port} {self._bind}",
            "psk_hint rootlet",
            f"ciphers {_PSK_CIPHERS}",
            "tls_version tlsv1.2",
            "use_identity_as_username true",
        ]

    def _passwords(self) -> Path:
        path = self._private("passwords.txt", "".join(f"{user}:{word}\n" for user, word in self._users.items()))
        program = _program("mosquitto_passwd")
        if not program:
            raise Failure("user names need mosquitto_passwd", "it is not installed", "apt-get install mosquitto")
        subprocess.run([program, "-U", str(path)], check=True, capture_output=True, timeout=30)
        return path

    def _amqtt(self) -> list[str]:
        settings = {
            **{name: str(path) for name, path in self._files.items()},
            "bind": self._bind,
            "port": self.port,
            "mtls": self._mtls,
            "observers": self._observers,
            "operators": self._operators,
            "users": self._users,
            "home_assistant": self._home_assistant,
            "key_log": str(self._key_log.resolve()) if self._key_log else None,
        }
        path = self._private("amqtt.json", json.dumps(settings))
        return [sys.executable, "-m", "host_tools.broker_amqtt", str(path)]

    def _start(self) -> bool:
        """Start the process; False where it ended before it accepted a connection."""
        limits.raise_files()  # a connection is a file, and the broker has its limit from here
        self.port = self._wanted_port or _free_port(self._bind)
        if self._psk:
            self.psk_port = self._wanted_psk_port or _free_port(self._bind)
        command = self._mosquitto() if self.engine == "mosquitto" else self._amqtt()
        with (self._dir / "log.txt").open("wb") as log:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd=ROOT, start_new_session=True
            )
        host = "127.0.0.1" if self._bind == "0.0.0.0" else self._bind  # noqa: S104
        end = time.monotonic() + _START_TIMEOUT_S
        while time.monotonic() < end:
            if self._process.poll() is not None:
                return False
            try:
                # The last listener of the configuration is the last to be opened.
                last = self.psk_port if self._psk else self.port
                socket.create_connection((host, last), timeout=1).close()
                return True
            except OSError:
                # Nothing tells when a server of another process begins to listen; a short pause between tries.
                time.sleep(0.02)
        self._stop()
        return False

    def _check_port(self) -> None:
        # Asked before the start: a connection that is accepted must be accepted by our broker, not by another.
        options = {"--port": self._wanted_port, **({"--psk-port": self._wanted_psk_port} if self._psk else {})}
        for option, port in options.items():
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    s.bind((self._bind, port))
                except OSError as e:
                    because, fix = (
                        f"{self._bind}:{port}: {e.strerror}",
                        f"{option} 0, or another; --bind must be an address of this machine",
                    )
                    raise Failure("the broker cannot start there", because, fix) from None

    def dropped(self) -> list[str]:
        """The clients that Mosquitto has dropped messages for since its start: too slow for what they asked for."""
        try:
            with (self._dir / "log.txt").open(errors="replace") as log:
                found = (line.partition("being dropped for client ")[2].strip(" .\n") for line in log)
                return sorted({name for name in found if name})
        except FileNotFoundError:
            return []

    def freeze(self) -> None:
        """Let it hang: connections stay open and nothing is answered, until kill()."""
        if self._process:
            self._process.send_signal(signal.SIGSTOP)

    def kill(self) -> None:
        """End it as a lost power supply does: no goodbye, nothing saved."""
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def __enter__(self) -> Self:
        make_directory(self._dir)
        self._check_port()
        for _ in range(1 if self._wanted_port else _TRIES):
            if self._start():
                return self
        last = (self.log.strip().splitlines() or ["it ended without a word"])[-1]
        raise Failure(
            f"the broker ({self.engine}) did not start", last, f"choose another --port; see {self._dir}/log.txt"
        )

    def _stop(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        process.terminate()
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

    def restart(self, cert: Path | None = None, key: Path | None = None) -> None:
        """Start again on the same port, after kill() or in order. Args: cert, key: of the server from now on.

        Raises: Failure.
        """
        self._stop()
        self._wanted_port, self._wanted_psk_port = self.port, self.psk_port
        if cert and key:
            self._files |= {"cert": cert.resolve(), "key": key.resolve()}
        self.__enter__()

    def wait(self) -> int:
        """Wait until the broker ends by itself; returns its exit code."""
        assert self._process is not None  # noqa: S101  (only inside the with block)
        return self._process.wait()

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._stop()
