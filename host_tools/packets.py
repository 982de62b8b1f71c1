"""Writes a TCP conversation, known only as bytes in each direction, as packets that Wireshark puts together again."""

import socket
from types import TracebackType
from typing import BinaryIO, Self

import dpkt

_LARGEST = 60000  # bytes of data in a packet; a captured loopback interface has packets of this size too
_SNAP_LENGTH = 262144
_LOOPBACK = socket.inet_aton("127.0.0.1")
_WINDOW = 65535
_AROUND = 96  # bytes of file that a packet takes besides its data, at most


class PacketFile:
    """A pcapng file. Args: file: open for writing bytes. limit: bytes it may grow to, about."""

    def __init__(self, file: BinaryIO, limit: int) -> None:
        self._file = file
        self._writer = dpkt.pcapng.Writer(file, snaplen=_SNAP_LENGTH)
        self._left = limit
        self.full = False
        file.flush()

    def has_room(self, size: int) -> bool:
        """Whether a packet with so many bytes of data may still be written; after the first that may not, none may."""
        self.full = self.full or size + _AROUND > self._left
        if not self.full:
            self._left -= size + _AROUND
        return not self.full

    def add(self, frame: bytes, when: float) -> None:
        """Write one Ethernet frame. Args: when: Unix seconds."""
        self._writer.writepkt(frame, when)
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, e: BaseException | None, tb: TracebackType | None) -> None:
        try:
            self._file.close()
        except OSError:
            if e is None:
                raise


class Connection:
    """One TCP connection in the file: its handshake, data in order, and its end.

    Args: file. client_port, server_port: as they are to be shown. when: Unix seconds of its beginning.
    """

    def __init__(self, file: PacketFile, client_port: int, server_port: int, when: float) -> None:
        self._file = file
        self._ports = {"client": client_port, "server": server_port}
        self._next = {"client": 1000, "server": 5000}  # sequence numbers; any will do
        self._identification = 0
        self._write("client", dpkt.tcp.TH_SYN, b"", when)
        self._write("server", dpkt.tcp.TH_SYN | dpkt.tcp.TH_ACK, b"", when)
        self._write("client", dpkt.tcp.TH_ACK, b"", when)

    def data(self, sender: str, data: bytes, when: float) -> None:
        """Bytes from "client" or "server"."""
        for at in range(0, len(data), _LARGEST):
            self._write(sender, dpkt.tcp.TH_PUSH | dpkt.tcp.TH_ACK, data[at : at + _LARGEST], when)

    def end(self, sender: str, when: float, *, reset: bool = False) -> None:
        """That side has closed its direction, or reset the connection."""
        self._write(sender, dpkt.tcp.TH_ACK | (dpkt.tcp.TH_RST if reset else dpkt.tcp.TH_FIN), b"", when)

    def _write(self, sender: str, flags: int, data: bytes, when: float) -> None:
        if not self._file.has_room(len(data)):
            return
        other = "server" if sender == "client" else "client"
        segment = dpkt.tcp.TCP(
            sport=self._ports[sender],
            dport=self._ports[other],
            seq=self._next[sender],
            ack=self._next[other] if flags & dpkt.tcp.TH_ACK else 0,
            flags=flags,
            win=_WINDOW,
            data=data,
        )
        self._identification = (self._identification + 1) & 0xFFFF
        packet = dpkt.ip.IP(
            src=_LOOPBACK, dst=_LOOPBACK, p=dpkt.ip.IP_PROTO_TCP, id=self._identification, ttl=64, data=segment
        )
        packet.len = len(packet)
        frame = dpkt.ethernet.Ethernet(src=bytes(6), dst=bytes(6), type=dpkt.ethernet.ETH_TYPE_IP, data=packet)
        self._file.add(bytes(frame), when)
        taken = len(data) + bool(flags & (dpkt.tcp.TH_SYN | dpkt.tcp.TH_FIN))
        self._next[sender] = (self._next[sender] + taken) & 0xFFFFFFFF
