"""The gateway with two real brokers, and with a session that the broker keeps."""

import contextlib
import json
from pathlib import Path
from typing import Any

from host_tools.servers import SntpServer
from host_tools.sim.board import VirtualBoard
from host_tools.watch import Watcher
from tests.integration.conftest import Pki
from tests.integration.test_gateway import SCRIPT, readings, running_broker, settings, staged
from tests.integration.test_gateway_commands import running


def operator(pki: Pki, port: int) -> Watcher:
    me = pki.clients["operator"]
    return Watcher("localhost", port, pki.authority.cert_pem, me.cert_pem, me.key_pem)


def numbers(found: list[dict[str, Any]]) -> set[int]:
    return {reading["seq"] for reading in found}


def test_a_second_broker_takes_over_and_nothing_is_missing(pki: Pki, tmp_path: Path) -> None:
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    with (
        running_broker(pki, tmp_path / "one") as one,
        running_broker(pki, tmp_path / "two") as two,
        SntpServer() as sntp,
    ):
        config = settings(one.port, sntp.port)
        config["mqtt"] |= {"brokers": [{"host": "localhost", "port": two.port}], "retry_first_s": 0.3}
        flash = staged(pki, tmp_path, config)
        with operator(pki, two.port) as second, contextlib.ExitStack() as stack:
            first = stack.enter_context(operator(pki, one.port))
            board = stack.enter_context(VirtualBoard(flash, script=SCRIPT))
            seen = numbers(readings(first, 10))
            one.freeze()  # what it has acknowledged was handed on; what comes now it does not take
            one.kill()
            with contextlib.suppress(TimeoutError):
                seen |= numbers(readings(first, 10_000, 1))
            board.wait_for(f"connected to localhost:{two.port}", 30)
            seen |= numbers(readings(second, 30))
    assert seen == set(range(max(seen) + 1))


def test_a_command_that_comes_while_the_board_is_away_waits_in_its_session(pki: Pki, tmp_path: Path) -> None:
    with running(pki, tmp_path, commands=["status"], session="persistent") as (scene, _):
        scene.board.power_cut()
        while scene.on("status")["status"] != "offline":
            pass
        text = json.dumps({"id": "while-away", "command": "status"})
        scene.watcher.publish("rootlet/dev-1/cmd", text.encode(), 10)
        scene.board.power_on()
        assert scene.on("reply") == {"id": "while-away", "command": "status", "ok": True}
