"""The world round a board changes under way: its clock, the broker's certificate, its address, WiFi itself."""

import pytest

from tests.chaos.scene import RESTARTS_WIFI, SCRIPT, Scene

_DAY_S = 86400


@pytest.mark.parametrize("seconds", [1200 * _DAY_S, -60])
def test_the_clock_jumps(seconds: int, scene: Scene) -> None:
    """Certificates look expired at the next connection: the clock is asked for again."""
    board = scene.board("dev-1")
    board.wait_for("mqtt: connected")
    scene.record.wait_more("dev-1")
    board.virtual.jump_clock(seconds)
    at = board.virtual.position
    scene.wire.cut()
    board.wait_for("mqtt: connected", 60, since=at)
    board.check_all_arrived()


def test_the_clock_jumps_back_behind_what_has_passed(scene: Scene) -> None:
    """No reading has a time any more; the time servers, which answer, put that right within a try or two."""
    board = scene.board("dev-1")
    board.wait_for("mqtt: connected")
    scene.record.wait_more("dev-1")
    board.virtual.jump_clock(-1200 * _DAY_S)
    board.wait_for("error: CLOCK_NOT_SET")
    scene.record.wait_more("dev-1", timeout_s=15)
    board.check_all_arrived()


def test_another_certificate_of_the_same_ca(scene: Scene) -> None:
    board = scene.board("dev-1")
    board.wait_for("mqtt: connected")
    scene.record.wait_more("dev-1")
    at = board.virtual.position
    scene.kill_broker()
    scene.broker.restart(scene.pki.next_server.cert_pem, scene.pki.next_server.key_pem)
    scene.record.connect()
    scene.wire.heal()
    board.wait_for("mqtt: connected", since=at)
    board.check_all_arrived()


def test_a_certificate_of_another_ca_is_refused_until_it_is_right_again(scene: Scene) -> None:
    board = scene.board("dev-1")
    board.wait_for("mqtt: connected")
    scene.record.wait_more("dev-1")
    at = board.virtual.position
    scene.kill_broker()
    scene.broker.restart(scene.pki.stranger.cert_pem, scene.pki.stranger.key_pem)
    scene.wire.heal()
    board.wait_for(r"error: CERT_\w+", since=at)
    again = board.virtual.position
    board.wait_for(r"error: CERT_\w+", since=again)
    with pytest.raises(TimeoutError):
        board.wait_for("mqtt: connected", 0, since=at)
    server = scene.pki.server
    scene.wire.refuse()
    scene.broker.restart(server.cert_pem, server.key_pem)
    scene.record.connect()
    scene.wire.heal()
    board.wait_for("mqtt: connected", since=at)
    board.check_all_arrived()


def test_the_broker_moves_to_another_address(scene: Scene) -> None:
    """Its name is asked for at each try: first no answer, then an address where nobody is, then the right one."""
    board = scene.board("dev-1", start=False, host="broker.example")
    right = {"dns": {"broker.example": "127.0.0.1"}}
    with board.virtual:
        board.update_script(**right)
        board.wait_for("mqtt: connected", 60)
        scene.record.wait_more("dev-1")
        at = board.virtual.position
        for answer, error in (("fail", "DNS"), ("127.0.0.9", "TCP_REFUSED")):
            board.update_script(dns={"broker.example": answer})
            scene.wire.cut()
            board.wait_for(f"error: {error}", since=at)
        board.update_script(**right)
        board.wait_for("mqtt: connected", 60, since=at)
        board.check_all_arrived()


@pytest.mark.parametrize("fault", ["gone", "stuck", "needs_reboot"])
def test_wifi_that_hangs(fault: str, scene: Scene) -> None:
    """It comes back by itself, after the radio's restart, or after the board's."""
    if fault != "gone" and not RESTARTS_WIFI:
        pytest.skip("this gateway restarts no radio")
    board = scene.board("dev-1")
    board.wait_for("mqtt: connected")
    scene.record.wait_more("dev-1")
    at = board.virtual.position
    lab = SCRIPT["wifi"]["networks"]["lab"]
    networks = {} if fault == "gone" else {"lab": {**lab, fault: True}}
    board.update_script(wifi={**SCRIPT["wifi"], "networks": networks})
    board.wait_for(r"error: WIFI_\w+", since=at)
    if fault == "gone":
        board.update_script()
    board.wait_for("mqtt: connected", 60, since=at)
    board.check_all_arrived()


def test_a_flash_that_is_full(scene: Scene) -> None:
    """Nothing can be kept any more, but what is sent arrives; and then all is as before."""
    board = scene.board("dev-1")
    board.wait_for("mqtt: connected")
    scene.record.wait_more("dev-1")
    board.update_script(faults={"flash_full": True, "cut": {}})
    scene.record.wait_more("dev-1", 10)
    board.update_script()
    scene.record.wait_more("dev-1", 10)
    board.check_all_arrived()
