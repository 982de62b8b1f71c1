"""Virtual BLE peripherals: their payloads against published vectors, their conduct before a real central."""

import asyncio
import queue
import struct
import time

import pytest

pytest.importorskip("bumble")

from bumble import hci
from bumble.controller import Controller
from bumble.core import UUID, ProtocolError
from bumble.device import Device, DeviceConfiguration, Peer
from bumble.host import Host
from bumble.smp import AddressResolver
from bumble.transport.common import AsyncPipeSink

from host_tools.failure import Exit, Failure
from host_tools.sim import adverts_made as made
from host_tools.sim.advertisers import Advertiser, Crowd
from host_tools.sim.air import Air
from host_tools.sim.misbehaving import Dropper, Endless, Liar, Mute
from host_tools.sim.peripheral_script import all_from_script, from_script
from host_tools.sim.peripherals import AnalogInput, Custom, HeartRate, Thermometer

_RUUVI = "CB:B8:33:4C:88:4F"


def test_ruuvi_valid_vector():
    payload = made.ruuvi(
        _RUUVI,
        temperature=24.3,
        pressure=100044,
        humidity=53.49,
        acceleration=(0.004, -0.004, 1.036),
        tx_power=4,
        voltage=2.977,
        movements=66,
        sequence=205,
    )
    assert payload == bytes.fromhex("0201061BFF99040512FC5394C37C0004FFFC040CAC364200CDCBB8334C884F")


def test_ruuvi_extreme_vectors():
    high = made.ruuvi(_RUUVI, 163.835, 163.835, 115534, (32.767,) * 3, 3.646, 20, 254, 65534)
    assert high[7:] == bytes.fromhex("057FFFFFFEFFFE7FFF7FFF7FFFFFDEFEFFFECBB8334C884F")
    low = made.ruuvi(_RUUVI, -163.835, 0, 50000, (-32.767,) * 3, 1.6, -40, 0, 0)
    assert low[7:] == bytes.fromhex("058001000000008001800180010000000000CBB8334C884F")
    nothing = made.ruuvi("FF:FF:FF:FF:FF:FF")
    assert nothing[7:] == bytes.fromhex("058000FFFFFFFF800080008000FFFFFFFFFFFFFFFFFFFFFF")


def test_bthome_published_examples():
    assert made.bthome_objects({"humidity": 50.55, "temperature": 25.06}) == bytes.fromhex("02ca0903bf13")
    plain = made.bthome({"temperature": 25, "humidity": 50.55}, name="DIY-sensor")
    assert plain == bytes.fromhex("0201060a16d2fc4002c40903bf130b094449592d73656e736f72")
    # The counter 0x00112233 as bthome.io/encryption sends it, and as the Home Assistant parser's tests send it.
    for counter, message in (
        (0x00112233, "e445f3c9962b332211006c7c4519"),
        (0x33221100, "a47266c95f730011223378237214"),
    ):
        sealed = made.bthome(
            bytes.fromhex("02ca0903bf13"),
            bindkey=bytes.fromhex("231d39c1d7cc1ab1aee224cd096db932"),
            counter=counter,
            address="54:48:E6:8F:80:A5",
        )
        assert sealed == bytes.fromhex("0201061216d2fc41" + message)


@pytest.mark.parametrize(
    ("objects", "hexed"),
    [
        ({"pressure": 1008.83}, "04138a01"),
        ({"illuminance": 13460.67}, "05138a14"),
        ({"battery": 97}, "0161"),
        ({"co2": 1250}, "12e204"),
        ({"voltage": 3.074}, "0c020c"),
        ({"dew_point": 17.38}, "08ca06"),
        ({"count_32": 1611213866}, "3e2a2c0960"),
        ({"temperature_tenths": 27.3}, "451101"),
        ({"acceleration": 22.151}, "518756"),
        ({"dimmer": -3, "button": 1}, "3a013c0103"),
        ({"text": "Hello World!"}, "530c48656c6c6f20576f726c6421"),
    ],
)
def test_bthome_objects(objects, hexed):
    assert made.bthome_objects(objects) == bytes.fromhex(hexed)


def test_atc_and_pvvx():
    values = {"temperature": -5.5, "humidity": 48, "battery": 87, "voltage": 2.95, "counter": 260}
    assert made.atc("A4:C1:38:12:34:56", **values) == bytes.fromhex("10161a18a4c138123456ffc930570b8604")
    wanted = bytes.fromhex("12161a185634 1238c1a4 dafd c012 860b 57 04 05")
    assert made.pvvx("A4:C1:38:12:34:56", **values, flags=5) == wanted


def test_eddystone_and_ibeacon():
    tlm = made.eddystone_tlm(voltage=3.1, temperature=-1.5, adverts=7, seconds=100)
    assert tlm == bytes.fromhex("020106 0303aafe 1116aafe 2000 0c1c fe80 00000007 000003e8")
    assert made.eddystone_tlm()[11:17] == bytes.fromhex("200000008000")
    beacon = made.ibeacon("fda50693-a4e2-4fb1-afcf-c6eb07647825", 10, 7, -59)
    assert beacon == bytes.fromhex("020106 1aff4c000215 fda50693a4e24fb1afcfc6eb07647825 000a 0007 c5")


def test_resolvable_address_by_the_standards_vector():
    # Core Specification, Vol 3, Part H, Appendix D.7.
    irk = bytes.fromhex("ec0234a357c8ad05341010a60a397d9b")
    assert made.resolvable_address(irk, 0x708194) == "70:81:94:0D:FB:AA"
    assert made.resolvable_address(irk)[0] in "4567"


@pytest.mark.parametrize(
    "make",
    [
        lambda: made.ruuvi("C4:7C:8D", 1),
        lambda: made.ruuvi(_RUUVI, temperature=400),
        lambda: made.bthome({"temperature": 400}),
        lambda: made.bthome({"colour": 1}),
        lambda: made.bthome({"battery": 1}, bindkey=bytes(16)),
        lambda: made.bthome({"battery": 1}, name="a name that is far too long"),
        lambda: made.named("n" * 40),
    ],
)
def test_what_does_not_fit_is_said(make):
    with pytest.raises(ValueError):
        make()


def test_malformed_payloads_fit_an_advertisement():
    payloads = made.malformed(1)
    assert all(len(payload) <= made.MAX_PAYLOAD for payload in payloads)
    assert payloads == made.malformed(1) != made.malformed(2)


# Before a real central: bumble's device in the same air.


class Central:
    """A bumble central; its calls are coroutines of the air's loop, run from the test's thread."""

    def __init__(self, air):
        self.air = air
        self.heard = queue.Queue()
        self.device = self.peer = self.connection = None
        air.run(self._start(air._link))

    async def _start(self, link):
        controller = Controller("central", link=link)
        host = Host(controller, AsyncPipeSink(controller))
        address = hci.Address("F0:F1:F2:F3:F4:F5")
        self.device = Device(config=DeviceConfiguration(name="central", address=address), host=host)
        await self.device.power_on()

    def connect(self, peripheral):
        """The services by UUID, discovered."""
        self.air.run(self._connect(peripheral))

    async def _connect(self, peripheral):
        self.connection = await self.device.connect(peripheral._address, timeout=5)
        self.lost = asyncio.get_running_loop().create_future()
        self.connection.on("disconnection", lambda reason: self.lost.done() or self.lost.set_result(reason))
        self.peer = Peer(self.connection)

    def ask(self, work, timeout_s=5):
        """What that coroutine of the peer gives; "lost" where the connection ends first."""
        return self.air.run(self._ask(work, timeout_s))

    async def _ask(self, work, timeout_s):
        task = asyncio.ensure_future(work)
        await asyncio.wait({task, self.lost}, timeout=timeout_s, return_when=asyncio.FIRST_COMPLETED)
        if task.done() and not task.cancelled():  # bumble cancels what was under way
            return task.result()
        task.cancel()
        return "lost" if self.lost.done() else "silence"

    def discover(self):
        """All services and their characteristics."""
        assert self.ask(self.peer.discover_services()) != "lost"
        for service in self.peer.services:
            assert self.ask(service.discover_characteristics()) != "lost"

    def one(self, uuid):
        """A discovered characteristic."""
        uuid = UUID.from_16_bits(uuid) if isinstance(uuid, int) else UUID(uuid)
        (found,) = self.peer.get_characteristics_by_uuid(uuid)
        return found

    def read(self, uuid):
        """Its value."""
        return self.ask(self.one(uuid).read_value())

    def subscribe(self, uuid, notify=True):
        """Values go to self.heard."""
        found = self.one(uuid)
        self.ask(found.discover_descriptors())
        return self.ask(found.subscribe(self.heard.put, prefer_notify=notify))

    def reason(self):
        """Why the connection ended."""
        return self.ask(self.wait_lost())

    async def wait_lost(self):
        """Until it ends."""
        return await self.lost


class Listener:
    """A receiver of advertisements on the link, and no more."""

    def __init__(self, air):
        self.heard = queue.Queue()
        self.random_address = self.public_address = None
        self.le_connections = {}
        air._link.controllers.add(self)

    def on_ll_advertising_pdu(self, pdu):
        self.heard.put((str(pdu.advertiser_address)[:17], pdu.data))

    def next(self):
        return self.heard.get(timeout=3)


@pytest.fixture
def air():
    with Air(supervision_s=0.2) as one:
        yield one


@pytest.fixture
def central(air):
    return Central(air)


ADDRESS = "C4:7C:8D:6A:3E:01"


@pytest.mark.parametrize("address", [ADDRESS, "A4:C1:38:6A:3E:01"], ids=["random", "public"])
def test_thermometer_is_read_and_notifies(air, central, address):
    sensor = Thermometer(address, "hall", temperature=-7.25, humidity=55.5, pressure=98765.4, battery=77)
    air.add(sensor)
    assert not sensor.connected.is_set()
    central.connect(sensor)
    assert sensor.wait_connected(3)
    central.discover()
    assert central.read(0x2A6E) == struct.pack("<h", -725)
    assert central.read(0x2A6F) == struct.pack("<H", 5550)
    assert central.read(0x2A6D) == struct.pack("<I", 987654)
    assert central.read(0x2A19) == b"\x4d"
    central.subscribe(0x2A6E)
    assert sensor.subscribed.wait(3)
    sensor.set(temperature=19.5, humidity=41)
    assert central.heard.get(timeout=3) == struct.pack("<h", 1950)
    assert central.read(0x2A6F) == struct.pack("<H", 4100)
    sensor.notify()
    assert central.heard.get(timeout=3) == struct.pack("<h", 1950)
    assert sensor.connections_made == 1


def test_thermometer_indicates(air, central):
    sensor = Thermometer(ADDRESS, mode="indicate")
    air.add(sensor)
    central.connect(sensor)
    central.discover()
    central.subscribe(0x2A6E, notify=False)
    sensor.set(temperature=1)
    assert central.heard.get(timeout=3) == struct.pack("<h", 100)


def test_thermometer_for_reading_only_has_no_cccd(air, central):
    sensor = Thermometer(ADDRESS, mode="read")
    air.add(sensor)
    central.connect(sensor)
    central.discover()
    assert int(central.one(0x2A6E).properties) == 2
    central.ask(central.one(0x2A6E).discover_descriptors())
    assert central.one(0x2A6E).descriptors == []
    sensor.set(temperature=3)
    assert central.read(0x2A6E) == struct.pack("<h", 300)


def test_thermometer_that_wants_encryption(air, central):
    sensor = Thermometer(ADDRESS, encrypted=True)
    air.add(sensor)
    central.connect(sensor)
    central.discover()
    with pytest.raises(ProtocolError) as refused:
        central.read(0x2A6E)
    assert refused.value.error_code == 0x0F  # insufficient encryption
    central.ask(central.connection.pair())
    assert central.connection.is_encrypted
    assert central.read(0x2A6E) == struct.pack("<h", 2150)
    central.subscribe(0x2A6E)
    sensor.set(temperature=5)
    assert central.heard.get(timeout=3) == struct.pack("<h", 500)


def test_drop_and_connect_again(air, central):
    sensor = Thermometer(ADDRESS)
    air.add(sensor)
    for count in (1, 2):
        central.connect(sensor)
        assert sensor.wait_connected(3) and sensor.connections_made == count
        sensor.drop()
        assert central.reason() == 0x13  # the other side ended it
        assert not sensor.connected.is_set()


def test_silence_is_noticed_by_the_supervision_timeout_and_wake_ends_it(air, central):
    sensor = Thermometer(ADDRESS)
    air.add(sensor)
    central.connect(sensor)
    central.discover()
    sensor.silence()
    assert not sensor.connected.is_set()
    assert central.ask(central.one(0x2A6E).read_value()) == "lost"
    assert central.reason() == 0x08  # connection timeout
    listener = Listener(air)
    with pytest.raises(queue.Empty):
        listener.heard.get(timeout=0.3)
    sensor.wake()
    assert listener.next()[0] == ADDRESS
    central.connect(sensor)
    central.discover()
    assert central.read(0x2A6E) == struct.pack("<h", 2150)


def test_advertisement_names_the_sensor(air):
    listener = Listener(air)
    sensor = Thermometer(ADDRESS, "hall", interval_ms=20)
    air.add(sensor)
    assert sensor.radio.le_legacy_advertiser.advertising_interval_min == 20  # which the radio takes for milliseconds
    for _ in range(3):
        assert listener.next() == (ADDRESS, bytes.fromhex("020106 03031a18 0509") + b"hall")


def test_heart_rate(air, central):
    belt = HeartRate(ADDRESS)
    air.add(belt)
    central.connect(belt)
    central.discover()
    central.subscribe(0x2A37)
    belt.set(72)
    belt.set(300, contact=True, energy=1000, rr=(1.0, 0.5))
    assert central.heard.get(timeout=3) == b"\x00\x48"
    assert central.heard.get(timeout=3) == struct.pack("<BHHHH", 0x1F, 300, 1000, 1024, 512)


def test_analog_input_and_custom(air, central):
    service, characteristic = "12345678-1234-4000-8000-000000000001", "12345678-1234-4000-8000-000000000002"
    custom = Custom("C4:7C:8D:6A:3E:02", service=service, characteristic=characteristic, value=b"\x01\x02\x03")
    analog = AnalogInput(ADDRESS, millivolts=3300)
    for sensor, uuid, data in ((analog, 0x2A58, b"\xe4\x0c"), (custom, characteristic, b"\x01\x02\x03")):
        air.add(sensor)
        central.connect(sensor)
        central.discover()
        assert central.read(uuid) == data
        sensor.drop()
        central.reason()


def test_methods_say_when_they_cannot_wait(air):
    sensor = Thermometer(ADDRESS)
    with pytest.raises(RuntimeError):
        sensor.drop()
    sensor.set(temperature=4)  # before the start: the first value

    async def inside():
        sensor.drop()

    air.add(sensor)
    with pytest.raises(RuntimeError):
        air.run(inside())
    air.remove(sensor)
    assert not air._link.controllers
    with pytest.raises(ValueError):
        sensor.set(colour=1)
    with pytest.raises(ValueError):
        sensor.set(temperature=1000)


def test_advertiser_counts_and_changes(air):
    listener = Listener(air)
    sender = Advertiser(ADDRESS, lambda sent: bytes([2, 1, sent]), interval_ms=10)
    air.add(sender)
    assert [listener.next() for _ in range(3)] == [(ADDRESS, bytes([2, 1, n])) for n in range(3)]
    sender.set(b"\x02\x01\x06")
    while listener.next()[1] != b"\x02\x01\x06":
        pass
    air.remove(sender)


def test_advertiser_with_an_irk_changes_its_address(air):
    irk = bytes(range(16))
    listener = Listener(air)
    sender = Advertiser(ADDRESS, b"\x02\x01\x06", interval_ms=0, irk=irk)
    air.add(sender)
    seen = set()
    for _ in range(3):
        sender.send()
        address = listener.next()[0]
        assert address == sender.address
        # bumble's own resolver agrees that it belongs to the key; it takes keys least significant byte first.
        resolver = AddressResolver([(irk[::-1], hci.Address(ADDRESS))])
        assert resolver.resolve(hci.Address(address)) is not None
        seen.add(address)
        sender.rotate()
    assert len(seen) == 3


@pytest.mark.parametrize("rate", [100, 500])
def test_crowd_keeps_its_rate(air, rate):
    listener = Listener(air)
    crowd = Crowd(rate=rate, addresses=40, among=[ADDRESS], seconds=1)
    used = time.process_time()
    air.add(crowd)
    assert crowd.wait(20) == rate
    # It never runs ahead; and it takes less of the processor than there is, so that an idle machine keeps up.
    assert crowd.took_s > 0.9 and time.process_time() - used < 0.8
    air.run(asyncio.sleep(0))
    heard = [listener.next() for _ in range(rate)]
    assert listener.heard.empty()
    addresses = {address for address, _ in heard}
    assert addresses == set(crowd.addresses) and len(addresses) == 41 and ADDRESS in addresses
    assert all(len(payload) <= 31 for _, payload in heard)
    assert Crowd(addresses=40, among=[ADDRESS]).addresses == crowd.addresses


# Those that break the rules.


def walk(central, sensor):
    """What a gateway does with a thermometer; "lost" where the connection ended on the way."""
    central.connect(sensor)
    for step in (
        lambda: central.ask(central.peer.discover_services()),
        lambda: central.ask(central.peer.services[-2].discover_characteristics()),
        lambda: central.ask(central.one(0x2A6E).discover_descriptors()),
        lambda: central.read(0x2A6E),
        lambda: central.ask(central.one(0x2A6E).subscribe(central.heard.put)),
    ):
        if step() == "lost":
            return "lost"
    return "done"


@pytest.mark.parametrize("at", [step for step in Dropper.steps if step not in ("connect", "notify")])
def test_dropper_at_each_step(air, central, at):
    sensor = Dropper(ADDRESS, at=at, times=1)
    air.add(sensor)
    assert walk(central, sensor) == "lost"
    assert sensor.did_drop.wait(3) and sensor.dropped == 1
    assert central.reason() == 0x13
    assert walk(central, sensor) == "done"  # it was to drop once


def test_dropper_on_connection(air, central):
    sensor = Dropper(ADDRESS, at="connect")
    air.add(sensor)
    central.connect(sensor)
    assert central.reason() == 0x13
    central.connect(sensor)
    assert central.reason() == 0x13
    assert sensor.dropped == 2


@pytest.mark.parametrize("mode", ["notify", "indicate"])
def test_dropper_after_notifications(air, central, mode):
    sensor = Dropper(ADDRESS, at="notify", after=4, mode=mode)
    air.add(sensor)
    central.connect(sensor)
    central.discover()
    central.subscribe(0x2A6E, notify=mode == "notify")
    assert central.reason() == 0x13
    assert central.heard.qsize() == 4


def test_dropper_without_a_word_comes_back(air, central):
    sensor = Dropper(ADDRESS, at="read", silent=True, wake_s=0.3, times=1)
    air.add(sensor)
    assert walk(central, sensor) == "lost"
    assert central.reason() == 0x08
    assert walk(central, sensor) == "done"


def test_mute_answers_nothing(air, central):
    sensor = Mute(ADDRESS)
    air.add(sensor)
    central.connect(sensor)
    assert central.ask(central.peer.discover_services(), timeout_s=0.5) == "silence"
    assert sensor.asked == 1 and sensor.connected.is_set()


@pytest.mark.parametrize(
    ("lie", "temperature", "battery"),
    [
        ("empty", b"", b""),
        ("short", b"\x01", b""),
        ("long", (bytes(range(256)) * 2)[:22], (bytes(range(256)) * 2)[:22]),
        ("special", b"\x00\x80", b"\xff"),
    ],
)
def test_liar_about_values(air, central, lie, temperature, battery):
    sensor = Liar(ADDRESS, lie=lie)
    air.add(sensor)
    central.connect(sensor)
    central.discover()
    answers = [central.ask(central.peer.read_value(central.one(uuid).handle)) for uuid in (0x2A6E, 0x2A19)]
    if lie == "long":  # the peer reads on: it has all 512 bytes
        assert [len(answer) for answer in answers] == [512, 512]
        answers = [answer[:22] for answer in answers]
    assert answers == [temperature, battery]


def raw(central, request):
    """The PDU that answers this one."""

    async def ask():
        answered = asyncio.get_running_loop().create_future()
        original = central.device.on_gatt_pdu

        def hear(handle, pdu):
            if not answered.done():
                answered.set_result(bytes(pdu))

        central.device.l2cap_channel_manager.register_fixed_channel(4, hear)
        try:
            central.device.send_l2cap_pdu(central.connection.handle, 4, request)
            return await asyncio.wait_for(answered, 3)
        finally:
            central.device.l2cap_channel_manager.register_fixed_channel(4, original)

    return central.air.run(ask())


_LIST_SERVICES = bytes.fromhex("10 0100 ffff 0028")


def test_liar_about_services_and_characteristics(air, central):
    sensor = Liar(ADDRESS, lie="services")
    air.add(sensor)
    central.connect(sensor)
    answer = raw(central, _LIST_SERVICES)
    assert answer[:2] == b"\x11\x06"
    rows = [struct.unpack_from("<HHH", answer, at) for at in range(2, len(answer), 6)]
    assert any(end < start for start, end, _ in rows) and any(start == 0 for start, _, _ in rows)
    assert raw(central, bytes.fromhex("06 0100 ffff 0028 1a18"))[:5] == bytes.fromhex("0720001000")
    sensor.drop()
    other = Liar("C4:7C:8D:6A:3E:02", lie="characteristics")
    air.add(other)
    central.connect(other)
    answer = raw(central, bytes.fromhex("08 1000 2000 0328"))
    values = [struct.unpack_from("<H", answer, at + 3)[0] for at in range(2, len(answer), 7)]
    assert values == [0, 0x10, 0xFFFF, 1]
    assert other.told == 1


def test_liar_truncates(air, central):
    sensor = Liar(ADDRESS, lie="truncated")
    air.add(sensor)
    central.connect(sensor)
    answers = [raw(central, _LIST_SERVICES) for _ in range(3)]
    assert answers == [b"\x11\x06\x01", b"\x01\x10", b"\x11\x00\x00\x00"]


def test_liar_notifies_handles_that_do_not_exist(air, central):
    sensor = Liar(ADDRESS, lie="ghosts")
    air.add(sensor)
    central.connect(sensor)
    central.discover()
    heard = queue.Queue()
    client = central.connection.gatt_client
    client.on_att_handle_value_notification = lambda one: heard.put((one.attribute_handle, len(one.attribute_value)))
    central.subscribe(0x2A6E)
    assert [heard.get(timeout=3) for _ in range(4)] == [(0, 1), (0xFFFE, 2), (1, 0), (0xFFFF, 20)]


def test_liar_advertises_nonsense(air):
    listener = Listener(air)
    air.add(Liar(ADDRESS, lie="adverts", interval_ms=5))
    wanted = set(made.malformed())
    heard = {listener.next()[1] for _ in range(3 * len(wanted))}
    assert wanted <= heard


def test_endless_notifications(air, central):
    sensor = Endless(ADDRESS, rate=500, size=244)
    air.add(sensor)
    central.connect(sensor)
    central.ask(central.peer.request_mtu(247))
    central.discover()
    central.subscribe(0x2A6E)
    got = [central.heard.get(timeout=3) for _ in range(500)]
    assert {len(value) for value in got} == {244}
    assert [int.from_bytes(value[:4], "little") for value in got] == list(range(500))
    sensor.drop()
    central.reason()
    sent = sensor.sent
    central.connect(sensor)  # nobody subscribed again
    central.discover()
    assert sensor.sent == sent


def test_endless_services(air, central):
    sensor = Endless(ADDRESS, what="services", count=120)
    air.add(sensor)
    central.connect(sensor)
    central.discover()
    assert len(central.peer.services) >= 121
    assert sum(len(service.characteristics) for service in central.peer.services) >= 241


def test_endless_lists_go_on_to_the_last_handle(air, central):
    sensor = Endless(ADDRESS, what="lists")
    air.add(sensor)
    central.connect(sensor)
    for first in (1, 2, 3000, 0xFFFF):
        answer = raw(central, b"\x10" + struct.pack("<HHH", first, 0xFFFF, 0x2800))
        assert answer == b"\x11\x06" + struct.pack("<HHH", first, first, 0x181A)
    assert raw(central, bytes.fromhex("08 0500 0400 0328"))[0] == 1
    assert sensor.asked == 5


# From plain data.


@pytest.mark.parametrize(
    ("row", "payload"),
    [
        (
            {"kind": "ruuvi", "values": {"temperature": 24.3, "sequence": 7}},
            made.ruuvi(ADDRESS, temperature=24.3, sequence=7),
        ),
        ({"kind": "ruuvi", "values": {"acceleration": [0, 0, 1]}}, made.ruuvi(ADDRESS, acceleration=(0, 0, 1))),
        ({"kind": "bthome", "values": {"battery": 50}, "name": "hi"}, made.bthome({"battery": 50}, name="hi")),
        (
            {"kind": "bthome", "values": {"battery": 50}, "bindkey": "00" * 16, "counter": 9},
            made.bthome({"battery": 50}, bytes(16), 9, ADDRESS),
        ),
        ({"kind": "atc", "values": {"temperature": 3}}, made.atc(ADDRESS, 3)),
        ({"kind": "pvvx", "values": {"temperature": 3, "counter": 4}}, made.pvvx(ADDRESS, 3, counter=4)),
        ({"kind": "eddystone", "values": {"voltage": 3}}, made.eddystone_tlm(3)),
        ({"kind": "ibeacon", "values": {"ident": "0" * 32}}, made.ibeacon("0" * 32)),
        ({"kind": "raw", "payload": "020106"}, b"\x02\x01\x06"),
    ],
)
def test_script_of_a_sender(air, row, payload):
    listener = Listener(air)
    air.add(from_script({"address": ADDRESS, "every_ms": 10, **row}))
    assert listener.next() == (ADDRESS, payload)


def test_script_counts_on(air):
    listener = Listener(air)
    row = {"kind": "bthome", "address": ADDRESS, "values": {"battery": 5, "packet_id": 255}, "bindkey": "00" * 16}
    air.add(from_script({**row, "every_ms": 10}))
    wanted = [made.bthome({"battery": 5, "packet_id": n}, bytes(16), 1 + i, ADDRESS) for i, n in enumerate((255, 0))]
    assert [listener.next()[1] for _ in range(2)] == wanted


def test_script_of_devices():
    rows = [
        {"kind": "thermometer", "address": ADDRESS, "temperature": 4, "mode": "indicate", "encrypted": True},
        {"kind": "heart_rate", "address": ADDRESS, "bpm": 80},
        {"kind": "analog_input", "address": ADDRESS, "millivolts": 5},
        {"kind": "custom", "address": ADDRESS, "service": 0x1234, "characteristic": "0" * 32, "value": "0102"},
        {"kind": "liar", "address": ADDRESS, "lie": "empty", "interval_ms": 20},
        {"kind": "endless", "address": ADDRESS, "what": "services", "count": 5},
        {"kind": "dropper", "address": ADDRESS, "at": "read", "silent": True},
        {"kind": "mute", "address": ADDRESS, "name": "m", "rssi": -90},
        {"kind": "crowd", "rate": 10, "addresses": 3, "among": [ADDRESS]},
    ]
    made_up = all_from_script({"ble": {"peripherals": rows}})
    kinds = [Thermometer, HeartRate, AnalogInput, Custom, Liar, Endless, Dropper, Mute, Crowd]
    assert [type(one) for one in made_up] == kinds
    assert all_from_script({}) == all_from_script({"ble": {"port": 1}}) == []


@pytest.mark.parametrize(
    ("row", "fact"),
    [
        ({"kind": "toaster", "address": ADDRESS}, "'toaster'"),
        ({"address": ADDRESS}, "None"),
        ("thermometer", "not an object"),
        ({"kind": "ruuvi", "values": {}}, "'address' is missing"),
        ({"kind": "thermometer"}, "'address' is missing"),
        ({"kind": "thermometer", "address": "kitchen"}, "non-hexadecimal"),
        ({"kind": "thermometer", "address": "C4:7C:8D"}, "is not an address"),
        ({"kind": "thermometer", "address": ADDRESS, "colour": 1}, "it has no colour"),
        ({"kind": "thermometer", "address": ADDRESS, "mode": "shout"}, "shout"),
        ({"kind": "ruuvi", "address": ADDRESS, "values": {"colour": 1}}, "colour"),
        ({"kind": "ruuvi", "address": ADDRESS, "value": {}}, "it has no value"),
        ({"kind": "ruuvi", "address": ADDRESS, "values": {"temperature": 999}}, "does not fit"),
        ({"kind": "atc", "address": ADDRESS, "values": {"temperature": "hot"}}, ""),
        ({"kind": "raw", "address": ADDRESS, "payload": "xyz"}, "non-hexadecimal"),
        ({"kind": "raw", "address": ADDRESS}, "'payload' is missing"),
        ({"kind": "liar", "address": ADDRESS}, "lie"),
        ({"kind": "crowd", "rate": 0}, "rate"),
    ],
)
def test_script_that_is_wrong(row, fact):
    with pytest.raises(Failure) as failed:
        from_script(row)
    assert fact in failed.value.because and failed.value.code == Exit.USAGE


def test_script_does_not_repeat_a_wrong_key():
    with pytest.raises(Failure) as failed:
        from_script({"kind": "bthome", "address": ADDRESS, "values": {"battery": 1}, "bindkey": "c0ffee"})
    assert "c0ffee" not in str(failed.value)
