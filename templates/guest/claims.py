"""Find others on a link that claim this host's addresses; run in guests, where Python 3.6 may be the newest.

Asks as a host does before it takes an address: by ARP probes (RFC 5227) and neighbour solicitations from the
unspecified address (RFC 4862). No cache learns from these. Arguments: the MACs of the NICs, or
``MAC=ADDRESS`` for an address that the NIC does not have yet. Prints ``ADDRESS MAC`` for each other MAC that
answers.
"""

import json
import select
import socket
import struct
import subprocess
import sys
import time

ARP, IPV6 = 0x0806, 0x86DD
PAUSES = (0.0, 0.25)
LISTEN = 0.6
MOST = 16  # addresses of a device


def main(arguments: "list[str]") -> None:
    further: dict[str, list[str]] = {}
    for argument in arguments:
        nic, _, address = argument.partition("=")
        further.setdefault(nic, []).extend([address] if address else [])
    shown = subprocess.run(["ip", "-j", "address"], stdout=subprocess.PIPE, check=True).stdout
    links = json.loads(shown.decode("utf-8", "replace"))
    own = {link.get("address") for link in links}
    sockets: dict[tuple[str, int], socket.socket] = {}
    probes: list[tuple[socket.socket, bytes]] = []
    for link in links:
        if link.get("address") not in further or "UP" not in link.get("flags", ()):
            continue
        held = [
            each["local"]
            for each in link.get("addr_info", [])[:MOST]
            if each.get("scope") == "global" and not each.get("tentative")
        ]
        for address in held + further[link["address"]]:
            kind = IPV6 if ":" in address else ARP
            key = link["ifname"], kind
            sockets[key] = sockets.get(key) or opened(*key)
            mac = bytes.fromhex(link["address"].replace(":", ""))
            probes.append((sockets[key], (arp if kind == ARP else solicitation)(mac, address)))
    claims: set[tuple[str, str]] = set()
    until = time.monotonic() + LISTEN
    for pause in PAUSES:
        listen(sockets, time.monotonic() + pause, own, claims)
        for sock, frame in probes:
            sock.send(frame)
    listen(sockets, until, own, claims)
    mine = {each["local"] for link in links for each in link.get("addr_info", ()) if "local" in each}
    mine.update(address for addresses in further.values() for address in addresses)
    for address, other in sorted(claims):
        if address in mine:
            sys.stdout.write(f"{address} {other}\n")


def opened(device: str, kind: int) -> socket.socket:
    sock = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(kind))
    sock.bind((device, kind))
    return sock


def arp(mac: bytes, address: str) -> bytes:
    head = b"\xff" * 6 + mac + struct.pack(">HHHBBH", ARP, 1, 0x0800, 6, 4, 1)
    return head + mac + bytes(4) + bytes(6) + socket.inet_aton(address)


def solicitation(mac: bytes, address: str) -> bytes:
    target = socket.inet_pton(socket.AF_INET6, address)
    group = socket.inet_pton(socket.AF_INET6, "ff02::1:ff00:0")[:13] + target[13:]
    asked = struct.pack(">BBHI", 135, 0, 0, 0) + target
    pseudo = bytes(16) + group + struct.pack(">II", len(asked), 58)
    asked = asked[:2] + struct.pack(">H", checksum(pseudo + asked)) + asked[4:]
    head = b"\x33\x33" + group[12:] + mac + struct.pack(">H", IPV6)
    return head + struct.pack(">IHBB", 6 << 28, len(asked), 58, 255) + bytes(16) + group + asked


def checksum(data: bytes) -> int:
    total: int = sum(struct.unpack(f">{len(data) // 2}H", data))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def listen(
    sockets: "dict[tuple[str, int], socket.socket]",
    until: float,
    own: "set[str]",
    claims: "set[tuple[str, str]]",
) -> None:
    while sockets:
        left = until - time.monotonic()
        if left <= 0:
            return
        for sock in select.select(list(sockets.values()), [], [], left)[0]:
            frame, where = sock.recvfrom(2048)
            claim = claimed(frame) if where[2] != socket.PACKET_OUTGOING else None
            if claim is not None and claim[1] not in own:
                claims.add(claim)


def claimed(frame: bytes) -> "tuple[str, str] | None":
    """Return (address, MAC) of an answer, None for anything else."""
    kind = struct.unpack(">H", frame[12:14])[0]
    if kind == ARP and len(frame) >= 42 and frame[28:32] != bytes(4):
        return socket.inet_ntoa(frame[28:32]), text(frame[22:28])
    if kind == IPV6 and len(frame) >= 78 and frame[20] == 58 and frame[54] == 136:
        return socket.inet_ntop(socket.AF_INET6, frame[62:78]), text(frame[6:12])
    return None


def text(mac: bytes) -> str:
    return ":".join(f"{each:02x}" for each in mac)


main(sys.argv[1:])
