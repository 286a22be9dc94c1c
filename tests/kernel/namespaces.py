"""Build a topology of network namespaces and trace through it, as a process of its own that takes it along.

Reads JSON from stdin and prints JSON. In: ``networks`` (each a list of addresses that the hypervisor
has on it), ``hosts`` (each with ``nics`` ``[network, [address/length...], metric]``, ``routes``
``[prefix, via, nic]``, ``sysctl``, ``nft``, a text for nft), ``probes`` ``[host, address]``, ``dials``
``[host, address, port]`` and ``longest``, the most hops to try. Hosts, networks and NICs are numbers.
Out: ``hops``, for each probe its hops, null for one that does not answer; null where nothing comes back
from the address itself. ``answers``, for each dial whether anything came back (nobody listens, so it is
a refusal).

Knows nothing of labrun. The namespaces have no names; the kernel removes them with this process.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import select
import socket
import struct
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_NEWNET = 0x40000000
_LIBC = ctypes.CDLL(None, use_errno=True)
_UP_SECONDS = 20.0
_QUIET = (0.2, 0.5, 1.5)
"""Seconds without any answer that end a round; what did not answer by then is asked in the next."""
_BURST = 32
_BUFFER = 8 << 20

# No answer may be left out for being one too many, and no hop because of a redirect.
_QUIET_KERNEL = {
    "net.ipv4.icmp_ratelimit": "0",
    "net.ipv4.icmp_ratemask": "0",
    "net.ipv4.conf.all.send_redirects": "0",
    "net.ipv4.conf.default.send_redirects": "0",
    "net.ipv4.conf.all.rp_filter": "0",
    "net.ipv4.conf.default.rp_filter": "0",
    "net.ipv6.icmp.ratelimit": "0",
    "net.ipv6.icmp.ratemask": "",
    "net.ipv6.conf.all.accept_redirects": "0",
    "net.ipv6.conf.default.accept_redirects": "0",
    "net.ipv6.conf.default.disable_ipv6": "0",
    "net.ipv6.conf.default.accept_dad": "0",
    "net.ipv6.conf.default.accept_ra": "0",
}


def _check(status: int, what: str) -> None:
    if status != 0:
        raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")


def _new_namespace() -> int:
    _check(_LIBC.unshare(_NEWNET), "unshare")
    return os.open("/proc/self/ns/net", os.O_RDONLY)


def _enter(namespace: int) -> None:
    _check(_LIBC.setns(namespace, _NEWNET), "setns")


def _set(sysctls: dict[str, str]) -> None:
    for key, value in sysctls.items():
        Path("/proc/sys", *key.split(".")).write_text(f"{value}\n", encoding="ascii")


def _ip(lines: list[str]) -> None:
    done = subprocess.run(
        ["ip", "-batch", "-"], input="\n".join(lines), text=True, capture_output=True, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr + "\n".join(lines))


def _fabric(topology: dict[str, Any], hosts: list[int]) -> list[str]:
    """Return the lines that make a bridge for each network and a cable for each NIC."""
    lines = []
    for number, addresses in enumerate(topology["networks"]):
        lines.append(f"link add br{number} up type bridge mcast_snooping 0")
        lines += [f"address add {each} dev br{number}{_nodad(each)}" for each in addresses]
    for host, what in enumerate(topology["hosts"]):
        for nic, (network, _, _) in enumerate(what["nics"]):
            far = f"/proc/{os.getpid()}/fd/{hosts[host]}"
            lines.append(f"link add v{host}.{nic} type veth peer name eth{nic} netns {far}")
            lines.append(f"link set v{host}.{nic} up master br{network}")
    return lines


def _nodad(address: str) -> str:
    return " nodad" if ":" in address else ""


def _host(what: dict[str, Any]) -> list[str]:
    lines = ["link set lo up"]
    for nic, (_, addresses, metric) in enumerate(what["nics"]):
        lines.append(f"link set eth{nic} up")
        lines += [f"address add {each} dev eth{nic}{_nodad(each)} metric {metric}" for each in addresses]
    lines += [f"route add {prefix} via {via} dev eth{nic}" for prefix, via, nic in what["routes"]]
    return lines


def _wait_for_cables() -> None:
    until = time.monotonic() + _UP_SECONDS
    while True:
        show = ["ip", "-j", "link", "show", "type", "veth"]
        links = json.loads(subprocess.run(show, capture_output=True, check=True).stdout or "[]")
        if all(link["operstate"] == "UP" for link in links):
            return
        if time.monotonic() > until:
            raise TimeoutError(f"not up: {[link for link in links if link['operstate'] != 'UP']}")
        time.sleep(0.01)


def build(topology: dict[str, Any]) -> list[int]:
    """Make every namespace; returns those of the hosts, as file descriptors."""
    namespaces = []
    for what in topology["hosts"]:
        namespaces.append(_new_namespace())
        _set({**_QUIET_KERNEL, **what["sysctl"]})
    fabric = _new_namespace()
    _set(_QUIET_KERNEL)
    _ip(_fabric(topology, namespaces))
    for namespace, what in zip(namespaces, topology["hosts"], strict=True):
        _enter(namespace)
        _ip(_host(what))
        if what["nft"]:
            subprocess.run(["nft", "-f", "-"], input=what["nft"], text=True, check=True)
    _enter(fabric)
    _wait_for_cables()
    return namespaces


# --- probes ------------------------------------------------------------------------------------------

_REPLY = {4: 0, 6: 129}
_EXCEEDED = {4: 11, 6: 3}


class Prober:
    """Echo requests with every TTL, and who answers: by probe, TTL to ``(answer's kind, from)``."""

    def __init__(self, namespaces: list[int], probes: list[tuple[int, str]], longest: int) -> None:
        self._probes, self._longest = probes, longest
        self._sockets: dict[tuple[int, int], socket.socket] = {}
        self.seen: list[dict[int, tuple[bool, str]]] = [{} for _ in probes]
        for host, address in probes:
            version = 6 if ":" in address else 4
            if (host, version) not in self._sockets:
                _enter(namespaces[host])
                self._sockets[host, version] = _socket(version)

    def run(self) -> list[list[str | None] | None]:
        """Ask until everything has answered, or has not in every round."""
        for quiet in _QUIET:
            missing = [number for number in range(len(self._probes)) if self._open_ttls(number)]
            for number in missing:
                self._send(number)
            self._receive(quiet)
        return [self._hops(number) for number in range(len(self._probes))]

    def _arrives(self, number: int) -> int | None:
        return min((ttl for ttl, (arrived, _) in self.seen[number].items() if arrived), default=None)

    def _open_ttls(self, number: int) -> list[int]:
        last = self._arrives(number) or self._longest
        return [ttl for ttl in range(1, last + 1) if ttl not in self.seen[number]]

    def _hops(self, number: int) -> list[str | None] | None:
        last = self._arrives(number)
        if last is None:
            return None
        return [self.seen[number][ttl][1] if ttl in self.seen[number] else None for ttl in range(1, last + 1)]

    def _send(self, number: int) -> None:
        host, address = self._probes[number]
        version = 6 if ":" in address else 4
        sock = self._sockets[host, version]
        for ttl in self._open_ttls(number):
            if version == 4:
                sock.setsockopt(socket.IPPROTO_IP, socket.IP_TTL, ttl)
            else:
                sock.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_UNICAST_HOPS, ttl)
            try:
                sock.sendto(_echo(version, number, ttl), (address, 0))
            except OSError:
                break  # the host itself has no way there
            if ttl % _BURST == 0:
                self._receive(0.0)

    def _receive(self, quiet: float) -> None:
        by_socket = {sock: key for key, sock in self._sockets.items()}
        while ready := select.select(list(by_socket), [], [], quiet)[0]:
            for sock in ready:
                data, sender = sock.recvfrom(2048)
                self._note(*by_socket[sock], data, sender[0])

    def _note(self, host: int, version: int, data: bytes, sender: str) -> None:
        body = data[(data[0] & 15) * 4 :] if version == 4 else data
        kind = body[0]
        if kind == _EXCEEDED[version]:
            inner = body[8:]
            body = inner[(inner[0] & 15) * 4 :] if version == 4 else inner[40:]
        elif kind != _REPLY[version]:
            return
        number, ttl = struct.unpack("!HH", body[4:8])
        if number < len(self._probes) and self._probes[number][0] == host:
            self.seen[number].setdefault(ttl, (kind == _REPLY[version], sender))


def _socket(version: int) -> socket.socket:
    family, protocol = (
        (socket.AF_INET, socket.IPPROTO_ICMP) if version == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
    )
    made = socket.socket(family, socket.SOCK_RAW, protocol)
    made.setsockopt(socket.SOL_SOCKET, getattr(socket, "SO_RCVBUFFORCE", 33), _BUFFER)
    return made


def _echo(version: int, number: int, ttl: int) -> bytes:
    head = struct.pack("!BBHHH", 8 if version == 4 else 128, 0, 0, number, ttl)
    if version == 6:
        return head  # the kernel fills in the checksum
    total = sum(struct.unpack("!4H", head))
    total = (total & 0xFFFF) + (total >> 16)
    return head[:2] + struct.pack("!H", ~total & 0xFFFF) + head[4:]


# --- connections -------------------------------------------------------------------------------------


def dial(namespaces: list[int], dials: list[tuple[int, str, int]]) -> list[bool]:
    """Tell for each whether the other side answers; what is silent is dialled once more."""
    answered = [False] * len(dials)
    for quiet in _QUIET[-2:]:
        waiting = select.poll()
        opened: dict[int, tuple[int, socket.socket]] = {}
        for number, (host, address, port) in enumerate(dials):
            if answered[number]:
                continue
            _enter(namespaces[host])
            made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
            made.setblocking(False)
            status = made.connect_ex((address, port))
            if status == errno.EINPROGRESS:
                waiting.register(made, select.POLLOUT)
                opened[made.fileno()] = number, made
            else:
                answered[number] = status == errno.ECONNREFUSED
        while opened and (events := waiting.poll(quiet * 1000)):
            for descriptor, _ in events:
                number, made = opened.pop(descriptor)
                waiting.unregister(descriptor)
                status = made.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                answered[number] = status in (0, errno.ECONNREFUSED)
                made.close()
        for _, made in opened.values():
            made.close()
    return answered


def main() -> None:
    """Answer one topology."""
    topology = json.load(sys.stdin)
    probes = [(host, address) for host, address in topology["probes"]]
    namespaces = build(topology)
    hops = Prober(namespaces, probes, topology["longest"]).run()
    answers = dial(namespaces, [(host, address, port) for host, address, port in topology["dials"]])
    json.dump({"hops": hops, "answers": answers}, sys.stdout)


if __name__ == "__main__":
    main()
