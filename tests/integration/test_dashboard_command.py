"""The command `rootlet dashboard`: what it prints, how it ends, and what it refuses."""

import re
import signal
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from typer.testing import CliRunner

from host_tools import ca
from host_tools.broker import Broker
from host_tools.commands import dashboard as command_module
from host_tools.commands.app import app
from host_tools.dashboard import certificate
from host_tools.failure import Exit, Failure
from tests.integration.conftest import Pki
from tests.integration.test_watch import Publisher
from tests.integration.viewing import Browser, free_port, row_of, until
from tests.running import Command


def options(pki: Pki, port: int, *more: str) -> list[str]:
    me = pki.clients["observer"]
    files = ["--ca", str(pki.authority.cert_pem), "--cert", str(me.cert_pem), "--key", str(me.key_pem)]
    folder = ["--ca-dir", str(pki.authority.directory)]
    return ["dashboard", f"localhost:{port}", *files, *folder, "--port", "0", *more]


def opened(command: Command) -> Any:
    """What `Browser` needs to know of a page in another process."""
    found = re.search(r"(https://localhost:(\d+)/)#token=(\S+)", command.wait_for("#token="))
    assert found
    return SimpleNamespace(url=found[1], token=found[3], site=SimpleNamespace(port=int(found[2])))


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_serves_and_ends_at_once(pki: Pki, tmp_path: Path, ending: signal.Signals) -> None:
    server = (pki.server.cert_pem, pki.server.key_pem, pki.authority.cert_pem)
    history = tmp_path / "h.sqlite"
    with Broker(*server, workdir=tmp_path) as broker:
        arguments = options(pki, broker.port, "--history", str(history), "--access-log", "--http-redirect", "0")
        with Command(*arguments) as command:
            command.wait_for(rf"watching localhost:{broker.port}")
            command.wait_for(r"certificate .*server-localhost.crt.pem for localhost, 127.0.0.1, until 20\d\d-")
            command.wait_for("rootlet ca trust --dir ")
            page = opened(command)
            device = Publisher(pki, broker.port)
            with Browser(pki, page) as browser:
                browser.http.get("/", params={"token": page.token})
                assert browser.login("wrong").status_code == 401
                assert browser.login().status_code == 303
                ws = browser.socket()
                device.say("status", "online", retain=True)
                until(ws, row_of("dev-1", lambda row: row["status"] == "online"))
                device.reading(0, 1)
                until(ws, row_of("dev-1", lambda row: row["readings"]))
                began = time.monotonic()
                command.process.send_signal(ending)
                assert command.process.wait(5) == Exit.OK
                assert time.monotonic() - began < 1.5
            device.close()
            assert command.process.stderr
            errors = command.process.stderr.read()
            said = errors + "\n".join(command.said)
            assert said.count(page.token) == 1 and "Traceback" not in errors
            assert "127.0.0.1 GET / 401\n" in errors and "127.0.0.1 POST /login 303\n" in errors
            assert "127.0.0.1 WebSocket /ws 101\n" in errors and browser.session not in errors
    from host_tools.history import History

    with History(history) as kept:
        assert kept.series("dev-1", "chip", "temperature", time.time() - 3600, time.time() + 60)


def test_without_a_broker_it_runs_and_says_so(pki: Pki, tmp_path: Path) -> None:
    with Command(*options(pki, free_port(), "--history", "none")) as command:
        page = opened(command)
        with Browser(pki, page) as browser:
            browser.login()
            with browser.socket() as ws:
                trouble = until(ws, lambda m: m.get("trouble"))
        assert "no connection" in trouble["what"] and trouble["try"] == "start it: rootlet broker"
        assert command.interrupt() == Exit.OK


def refused(*arguments: str) -> Failure:
    result = CliRunner().invoke(app, list(arguments))
    assert isinstance(result.exception, Failure), result.output
    return result.exception


def test_what_it_refuses(pki: Pki, tmp_path: Path) -> None:
    none = ("--history", "none")
    assert "--mtls" in refused(*options(pki, 1, *none, "--allow", "x")).what
    for wrong in ("30", "d", "-1d", "nand", "1e9d", "x" * 100):
        assert "--keep" in refused(*options(pki, 1, *none, "--keep", wrong)).what
    failure = refused(*options(pki, 1, *none, "--name", "nobody.example"))
    assert "rootlet ca issue server nobody.example" in failure.try_
    failure = refused("dashboard", "localhost:1", "--ca-dir", str(tmp_path), "--ca", str(pki.authority.cert_pem))
    assert "rootlet ca init" in failure.try_
    assert "rootlet dashboard HOST:PORT" in refused("dashboard", "--project", str(tmp_path)).try_
    assert "HOST:PORT" in refused("dashboard", "x", "--ca", str(pki.authority.cert_pem)).because
    assert "--listen" in refused(*options(pki, 1, *none, "--listen", "192.0.2.1")).try_


def test_a_certificate_for_localhost_is_made(tmp_path: Path) -> None:
    authority = ca.init(tmp_path / "ca")
    said: list[str] = []
    made = certificate.find(tmp_path / "ca", "localhost", ca.load, said.append)
    assert made.names == ("localhost", "127.0.0.1", "::1") and len(said) == 1
    assert oct(made.key.stat().st_mode & 0o777) == "0o600"
    assert certificate.find(tmp_path / "ca", "localhost", ca.load, said.append) == made and len(said) == 1
    soon = datetime.now(UTC) + timedelta(hours=12)
    authority.issue_server(["localhost"], not_after=soon, force=True)
    assert certificate.find(tmp_path / "ca", "localhost", ca.load, said.append).ends > time.time() + 86400 * 300
    with pytest.raises(Failure, match="no server certificate"):
        certificate.find(tmp_path / "ca", "page.home", ca.load, said.append)
    assert len(said) == 2


def test_secrets_of_this_machine_are_hidden() -> None:
    clean = command_module._cleaner(["correct horse"])
    topic, payload = clean(("rootlet/a/b", b'{"x": "correct horse", "y": 1}'))
    assert topic == "rootlet/a/b" and b"correct" not in payload and b'"y": 1}' in payload
    assert clean(("rootlet/a/b", b"\xff plain")) == ("rootlet/a/b", b"\xff plain")
    assert clean(("", b"")) == ("", b"")
