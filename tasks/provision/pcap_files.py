"""Captured packets as bytes: the stream that tcpdump writes, read, and files of one NIC or of several.

One NIC gives a pcap file as tcpdump would write it. Several give a pcapng file, in which every packet says
at which NIC it was seen.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass, field

__all__ = ["Packet", "PcapReader", "block_of", "pcap_record", "pcapng_head"]

_HEAD = struct.Struct("=IHHiIII")
_RECORD = struct.Struct("=IIII")
_MAGIC = 0xA1B2C3D4
_MOST = 262144 * 2
_ETHERNET = 1
_SECTION, _INTERFACE, _ENHANCED = 0x0A0D0D0A, 1, 6
_IF_NAME, _END = 2, 0


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet as it was seen: the time in microseconds since the epoch, its whole length and its bytes."""

    moment: int
    length: int
    data: bytes


@dataclass(slots=True)
class PcapReader:
    """Take a pcap stream in pieces of any size; ``head`` is its header, once it has come."""

    head: bytes = b""
    _rest: bytearray = field(default_factory=bytearray)

    def feed(self, piece: bytes) -> list[Packet]:
        """Return the packets that are complete with this piece. Raises ValueError for what is no pcap."""
        self._rest += piece
        if not self.head:
            if len(self._rest) < _HEAD.size:
                return []
            self.head = bytes(self._rest[: _HEAD.size])
            del self._rest[: _HEAD.size]
            if _HEAD.unpack(self.head)[0] != _MAGIC:
                raise ValueError("tcpdump wrote something other than pcap")
        found = []
        while len(self._rest) >= _RECORD.size:
            seconds, micros, kept, length = _RECORD.unpack_from(self._rest)
            if kept > _MOST:
                raise ValueError(f"a packet of {kept} bytes")
            end = _RECORD.size + kept
            if len(self._rest) < end:
                break
            found.append(Packet(seconds * 1_000_000 + micros, length, bytes(self._rest[_RECORD.size : end])))
            del self._rest[:end]
        return found


def pcap_record(packet: Packet) -> bytes:
    """Return a packet as it stands in a pcap file."""
    seconds, micros = divmod(packet.moment, 1_000_000)
    return _RECORD.pack(seconds, micros, len(packet.data), packet.length) + packet.data


def pcapng_head(names: Sequence[str]) -> bytes:
    """Return the begin of a pcapng file: its section, and an interface of this name for every NIC."""
    section = _block(_SECTION, struct.pack("=IHHq", 0x1A2B3C4D, 1, 0, -1))
    return section + b"".join(
        _block(_INTERFACE, struct.pack("=HHI", _ETHERNET, 0, 0) + _option(_IF_NAME, name) + _option(_END, ""))
        for name in names
    )


def block_of(number: int, packet: Packet) -> bytes:
    """Return a packet as it stands in a pcapng file, seen at the NIC with this number, from 0."""
    high, low = packet.moment >> 32, packet.moment & 0xFFFFFFFF
    head = struct.pack("=IIIII", number, high, low, len(packet.data), packet.length)
    return _block(_ENHANCED, head + _padded(packet.data))


def _block(kind: int, body: bytes) -> bytes:
    size = struct.pack("=I", len(body) + 12)
    return struct.pack("=I", kind) + size + body + size


def _option(code: int, text: str) -> bytes:
    data = text.encode()
    return struct.pack("=HH", code, len(data)) + _padded(data)


def _padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
