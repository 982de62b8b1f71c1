"""A broker with TLS and an access list, from the table of engines: Mosquitto where installed, else amqtt."""

import dataclasses
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from host_tools import folder_lock, limits
from host_tools.engines import table
from host_tools.engines.settings import Node, Settings, free_port
from host_tools.failure import Exit, Failure
from host_tools.paths import ROOT
from host_tools.safe_write import make_directory

_STOP_TIMEOUT_S = 10
_TRIES = 3


def choose(engine: str) -> str:
    """The broker to use, by name. Raises Failure where the one asked for is not installed."""
    return table.choose(engine).NAME


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
        engine: "auto" or a name of engines.table. bind: address; port: 0 takes a free one.
        workdir: its folder `broker` is for configuration, log and messages, and locked while the broker runs.
        key_log: file that amqtt adds the secrets of each connection to, for `rootlet capture` only; it must exist,
            with mode 0600.
        home_assistant: prefix of Home Assistant's discovery topics: each device may write those that name it, observers
            and operators read all; None: nobody touches them.
        sessions: sessions that outlive their connections outlive an orderly end of the broker too.
        devices: identities that may come in as devices; None: any of the CA, where the engine knows how.
        revoked: PEM file of the CA's CRL.
        node, nodes, secret: this machine and all of a cluster; `bind` and `port` are the node's then. Entering waits
            for the process alone: wait_ready() for the cluster.
    Raises: Failure where the engine cannot do that or does not start; ValueError for a key_log with another than amqtt.
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
        devices: Iterable[str] | None = None,
        revoked: Path | None = None,
        node: Node | None = None,
        nodes: Iterable[Node] = (),
        secret: str = "",
    ) -> None:
        if home_assistant is not None and not _is_prefix(home_assistant):
            because = f"{home_assistant[:60]!r} is no prefix of topics of its own: letters, digits, '-', '_' and '/'"
            fix = "rootlet broker --home-assistant homeassistant"
            raise Failure("the discovery topics cannot be opened", because, fix, Exit.USAGE)
        if psk and not mtls:
            raise Failure(
                "pre-shared keys need named clients beside them",
                "without certificates the other port lets anybody read what the devices send",
                "--psk without --no-mtls",
                Exit.USAGE,
            )
        self._dir = (workdir / "broker").resolve()
        self._wanted_port = node.port if node else port
        self._wanted_psk_port = psk_port
        self._settings = Settings(
            cert=(node.cert if node else cert).resolve(),
            key=(node.key if node else key).resolve(),
            ca=ca.resolve(),
            bind=node.address if node else bind,
            port=self._wanted_port,
            directory=self._dir,
            mtls=mtls,
            observers=tuple(observers),
            operators=tuple(operators),
            devices=None if devices is None else tuple(devices),
            revoked=revoked.resolve() if revoked else None,
            users=dict(users or {}),
            home_assistant=home_assistant,
            sessions=sessions,
            node=node,
            nodes=tuple(nodes),
            secret=secret,
            psk=psk,
            psk_port=psk_port,
            key_log=key_log,
        )
        self._engine = table.choose("mosquitto" if psk and engine == "auto" else engine)
        if key_log and self._engine.NAME != "amqtt":
            raise ValueError("only amqtt can write a key log")
        self._engine.refuse(self._settings)
        self.engine = self._engine.NAME
        self._process: subprocess.Popen[bytes] | None = None
        self._lock: IO[bytes] | None = None

    @property
    def log(self) -> str:
        """The last 8 KB of what the broker logged."""
        try:
            return (self._dir / "log.txt").read_bytes()[-8192:].decode(errors="replace")
        except FileNotFoundError:
            return ""

    @property
    def port(self) -> int:
        """The port of MQTT over TLS."""
        return self._settings.port

    @property
    def pid(self) -> int:
        """The process, or 0 where none runs."""
        return self._process.pid if self._process else 0

    @property
    def psk_port(self) -> int:
        """The port for devices with a pre-shared key."""
        return self._settings.psk_port

    def _start(self) -> bool:
        """Start the process; False where it ended before it accepted a connection."""
        limits.raise_files()  # a connection is a file, and the broker has its limit from here
        bind = self._settings.bind
        psk_port = (self._wanted_psk_port or free_port(bind)) if self._settings.psk else 0
        self._settings = dataclasses.replace(
            self._settings, port=self._wanted_port or free_port(bind), psk_port=psk_port
        )
        start = self._engine.configure(self._settings)
        with (self._dir / "log.txt").open("wb") as log:
            self._process = subprocess.Popen(
                start.command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=ROOT,
                env={**os.environ, **start.env},
                start_new_session=True,
                # The broker has the lock, too: one whose parent was killed still writes to the folder.
                pass_fds=[self._lock.fileno()] if self._lock else (),
            )
        if self._lock:
            folder_lock.tell(self._lock, self._process.pid)
        return self._settings.node is not None or self.wait_ready()

    def wait_ready(self) -> bool:
        """Wait until clients can connect; False where the process has ended, or is ended after the engine's START_S."""
        end = time.monotonic() + self._engine.START_S
        while time.monotonic() < end:
            if self._process is None or self._process.poll() is not None:
                return False
            if self._engine.ready(self._settings):
                return True
            # Nothing tells when a server of another process begins to listen; a short pause between tries.
            time.sleep(0.02)
        self._stop()
        return False

    def _check_port(self) -> None:
        # Asked before the start: a connection that is accepted must be accepted by our broker, not by another.
        options = {"--port": self._wanted_port, **({"--psk-port": self._wanted_psk_port} if self._settings.psk else {})}
        for option, port in options.items():
            with socket.socket() as s:
                s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    s.bind((self._settings.bind, port))
                except OSError as e:
                    because, fix = (
                        f"{self._settings.bind}:{port}: {e.strerror}",
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
        self._lock = self._lock or folder_lock.hold(self._dir)
        try:
            # Keys of devices (--psk) and messages may be in it, and the folder around may be anybody's repository.
            (self._dir / ".gitignore").write_text("*\n")
            self._check_port()
            for _ in range(1 if self._wanted_port else _TRIES):
                if self._start():
                    return self
        except BaseException:
            # Ctrl-C while it starts: it is in a session of its own, and nobody else would end it.
            self._end()
            raise
        self._end()
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
            self._settings = dataclasses.replace(self._settings, cert=cert.resolve(), key=key.resolve())
        self.__enter__()

    def ended(self) -> int | None:
        """The exit code where it has ended, else None."""
        return self._process.poll() if self._process else None

    @property
    def log_file(self) -> Path:
        """Where it logs to."""
        return self._dir / "log.txt"

    def wait(self) -> int:
        """Wait until the broker ends by itself; returns its exit code."""
        assert self._process is not None  # noqa: S101  (only inside the with block)
        return self._process.wait()

    def _end(self) -> None:
        self._stop()
        lock, self._lock = self._lock, None
        if lock:
            lock.close()

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        self._end()
