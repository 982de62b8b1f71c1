"""The simulated link of the air: bumble's, with signal strength, public addresses, and radios that go away."""

import asyncio
from collections.abc import Callable
from typing import Any

from bumble import hci, ll
from bumble.controller import Connection as Wire
from bumble.controller import Controller
from bumble.link import LocalLink

_ADV_IND, _ADV_SCAN_IND, _ADV_NONCONN_IND = 0, 2, 3


class Link(LocalLink):
    """bumble's link, with what it leaves out: signal strength, public addresses, and radios that go away.

    The signal strength is `rssi` of the sender's controller, in dBm, where it has one. remove_controller() is a radio
    out of reach, without a word.
    """

    def __init__(self, supervision_s: float | None) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.supervision_s = supervision_s

    def send_advertising_pdu(self, sender_controller: Controller, packet: ll.AdvertisingPdu) -> None:
        """As bumble's; a board's radio also learns whose it is."""
        loop = asyncio.get_running_loop()
        for radio in self.controllers:
            if isinstance(radio, Radio) and not isinstance(packet, ll.ConnectInd):
                loop.call_soon(radio.hear, sender_controller, packet)
            elif radio is not sender_controller:
                loop.call_soon(radio.on_ll_advertising_pdu, packet)

    def send_acl_data(
        self, sender_controller: Controller, destination_address: hci.Address, transport: Any, data: bytes
    ) -> None:
        """As bumble's, from the address that the connection was made with, not always from the random one."""
        wire = sender_controller.le_connections.get(destination_address)
        receiver = self.find_le_controller(destination_address)
        if wire is not None and receiver is not None:
            loop = asyncio.get_running_loop()
            loop.call_soon(receiver.on_link_acl_data, wire.self_address, transport, data)

    def send_ll_control_pdu(
        self, sender_address: hci.Address, receiver_address: hci.Address, packet: ll.ControlPdu
    ) -> None:
        """As bumble's; what is sent to a radio that is gone is lost."""
        if self.find_le_controller(receiver_address) is not None:
            super().send_ll_control_pdu(sender_address, receiver_address, packet)

    def remove_controller(self, controller: Controller) -> None:
        """The radio is out of reach: those connected to it notice when their supervision timeout has passed."""
        if controller not in self.controllers:
            return
        super().remove_controller(controller)
        for other in self.controllers:
            for wire in list(other.le_connections.values()):
                if any(wire.peer_address == lost.self_address for lost in controller.le_connections.values()):
                    asyncio.get_running_loop().call_later(self.timeout_of(other), _lose, other, wire)

    def timeout_of(self, radio: Controller) -> float:
        """Supervision timeout in seconds."""
        if self.supervision_s is not None:
            return self.supervision_s
        return radio.supervision_s if isinstance(radio, Radio) else 2.0


def _lose(radio: Controller, wire: Wire) -> None:
    if radio.le_connections.get(wire.peer_address) is wire:
        radio.on_le_disconnected(wire, hci.HCI_ErrorCode.CONNECTION_TIMEOUT_ERROR)


class Radio(Controller):
    """The controller of a board."""

    supervision_s = 2.56
    on_advert: Callable[[Controller, ll.AdvertisingPdu], None] = staticmethod(lambda sender, pdu: None)

    def hear(self, sender: Controller, pdu: ll.AdvertisingPdu) -> None:
        """An advertisement: for the scan, and for the connection that waits for it."""
        self.on_advert(sender, pdu)
        wanted = self.pending_le_connection
        if wanted is None or not isinstance(pdu, ll.AdvInd | ll.AdvExtInd):
            return
        if wanted.peer_address == pdu.advertiser_address and advertised(sender, pdu)[0] == _ADV_IND:
            self.create_le_connection(pdu.advertiser_address)

    def allocate_connection_handle(self) -> int:
        """From 64 on, as the chip of a Pico W: 0 is no connection's."""
        taken = {wire.handle for wire in self.le_connections.values()}
        return next(handle for handle in range(64, 128) if handle not in taken)

    def on_hci_le_create_connection_cancel_command(self, command: Any) -> Any:
        """As bumble's, but it does cancel."""
        wanted, self.pending_le_connection = self.pending_le_connection, None
        if wanted is None:
            return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.COMMAND_DISALLOWED_ERROR)
        event = hci.HCI_LE_Connection_Complete_Event(
            status=hci.HCI_ErrorCode.UNKNOWN_CONNECTION_IDENTIFIER_ERROR,
            connection_handle=0,
            role=hci.Role.CENTRAL,
            peer_address_type=wanted.peer_address.address_type,
            peer_address=wanted.peer_address,
            connection_interval=0,
            peripheral_latency=0,
            supervision_timeout=0,
            central_clock_accuracy=0,
        )
        asyncio.get_running_loop().call_soon(self.send_hci_packet, event)
        return hci.HCI_StatusReturnParameters(hci.HCI_ErrorCode.SUCCESS)


def advertised(sender: Controller, pdu: ll.AdvertisingPdu) -> tuple[int, bytes]:
    """Type of an advertisement, by the numbers of a scan report, and what the advertiser answers to a scan request."""
    if isinstance(pdu, ll.AdvNonConnInd):
        return _ADV_NONCONN_IND, b""
    legacy = sender.le_legacy_advertiser
    if isinstance(pdu, ll.AdvExtInd):
        for one in sender.advertising_sets.values():
            if one.enabled and one.address == pdu.advertiser_address and one.parameters is not None:
                properties = one.parameters.advertising_event_properties
                kind = _ADV_IND if properties & 1 else _ADV_SCAN_IND if properties & 2 else _ADV_NONCONN_IND
                return kind, bytes(one.scan_response_data)
    elif legacy.enabled:
        return legacy.advertising_type, bytes(legacy.scan_response_data)
    return _ADV_NONCONN_IND, b""
