"""A connection that is up: what notifies is read now and then, and turns end where others wait."""

import asyncio

from rootlet import ble_central
from rootlet.ble_central import Central, Peer


class Radio:
    on = True


def live(readable, polled, every_ms, ms, waiting=0):
    """Values read in so many milliseconds of a connection, and how it ended."""
    central = Central(Radio(), 1, None)
    central.waiting = waiting
    peer = Peer(None)
    peer.readable = readable
    peer.names = {value: 0x2A6E for value in readable + polled}
    read = []

    async def reading(peer, value):
        read.append(value)
        return 0

    central.read = reading

    async def run():
        task = asyncio.create_task(central._live(peer, polled, lambda: every_ms))
        await asyncio.sleep(ms / 1000)
        peer.ended = True
        try:
            return await task
        except ble_central.RootletError as e:
            return e.code

    return read, asyncio.run(run())


def test_what_notifies_is_read_once_in_a_while():
    before = ble_central._WHOLE_MS
    ble_central._WHOLE_MS = 150
    try:
        read, end = live([7], [], 1, 700)
        assert 2 <= len(read) <= 4 and set(read) == {7} and end == "BLE_LOST"
        assert live([7], [], 100, 700)[0] == []  # 10 times as seldom as a reading is wanted, at most
    finally:
        ble_central._WHOLE_MS = before


def test_what_does_not_notify_is_read_each_time():
    read, _ = live([8], [8], 100, 650)
    assert 2 <= len(read) <= 6 and set(read) == {8}


def test_a_turn_ends_where_others_wait():
    before = ble_central._TURN_MS
    ble_central._TURN_MS = 100
    try:
        assert live([], [], 1000, 400, waiting=1)[1] is True
        assert live([], [], 1000, 400, waiting=0)[1] == "BLE_LOST"
    finally:
        ble_central._TURN_MS = before
