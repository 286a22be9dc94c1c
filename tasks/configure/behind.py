"""Whether hosts behind a router still answer, tested from the machine that labrun runs on.

Every test opens a new connection; see :mod:`labrun.tasks.configure.neighbour` for what the kernel caches.
"""

from __future__ import annotations

import json
import socket
import subprocess
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Any, NotRequired, TypedDict

from labrun.errors import TransportError
from labrun.inventory.topology.behind import Lead
from labrun.tasks.guest.jump_host import JumpHosts
from labrun.tasks.guest.tcp import await_banner

__all__ = ["Behind", "answering", "answers", "cut_off", "leads"]

_IP_SECONDS = 5.0
# The timeout of one attempt from here; a lost SYN is retransmitted after 1 s.
_TRY_SECONDS = 3.0
# An attempt through a jump host begins with a login there, which takes longer than that where it is slow. Its
# kernel sends the SYN again by itself, and tells in 3 s that nobody is there.
_THROUGH_SECONDS = 12.0
_AT_ONCE_SECONDS = 1.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.2, 1.0
_AT_ONCE = 64
# A server may send other lines before its version.
_MOST_BANNER = 16 * 1024


class Behind(TypedDict):
    """A host that is reached through another: the address and port of its sshd.

    ``jump`` are the options of the login to its jump host, for one that this machine cannot reach. ``also``
    are addresses where it may still be, as long as it has not been changed itself.
    """

    name: str
    address: str
    port: int
    jump: NotRequired[Mapping[str, Any]]
    also: NotRequired[Sequence[str]]


def leads(addresses: Mapping[str, str]) -> dict[str, Lead]:
    """Return how this machine's kernel reaches each host; ``addresses`` are IP addresses or names, by host.

    A name that does not resolve is left out. If the kernel has no route, or ``ip`` is missing, the
    lead is not ``known``. Queries the network namespace of the calling thread.
    """
    resolved = {name: each for name, text in addresses.items() if (each := _resolved(text)) is not None}
    routes = _routes(resolved.values())
    return {name: routes.get(address, Lead(address, known=False)) for name, address in resolved.items()}


def _resolved(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        pass
    try:
        known = socket.getaddrinfo(text, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return None
    return ip_address(known[0][4][0])


def _routes(addresses: Iterable[IPv4Address | IPv6Address]) -> dict[IPv4Address | IPv6Address, Lead]:
    asked = "".join(f"route get {each}\n" for each in dict.fromkeys(addresses))
    leads = {}
    # One process for all; with -force an unroutable address does not stop the rest.
    for line in _ip("-force", "-json", "-batch", "-", text=asked).splitlines():
        try:
            (route,) = json.loads(line)
            address = ip_address(route["dst"])
            via, source = (_address(each) for each in (_gateway(route), route.get("prefsrc")))
        except (ValueError, KeyError, TypeError):
            continue
        leads[address] = Lead(address, via, source)
    return leads


def _gateway(route: Mapping[str, Any]) -> Any:
    # `via` holds a gateway of the other IP version.
    return route.get("gateway") or (route.get("via") or {}).get("host")


def _address(text: Any) -> IPv4Address | IPv6Address | None:
    return None if text is None else ip_address(text)


def _ip(*words: str, text: str = "") -> str:
    """Return the output of ``ip``; empty if it is missing or takes too long."""
    try:
        done = subprocess.run(
            ["ip", *words], input=text, text=True, capture_output=True, timeout=_IP_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout


def answers(address: str, port: int, seconds: float) -> bool:
    """Tell whether an SSH server sends its version on a new connection, within ``seconds``."""
    until = time.monotonic() + seconds
    try:
        with socket.create_connection((address, port), timeout=max(0.001, seconds)) as sock:
            return _says_version(sock, until)
    except (OSError, UnicodeError):
        return False


def _says_version(sock: socket.socket, until: float) -> bool:
    heard = b""
    while len(heard) < _MOST_BANNER:
        left = until - time.monotonic()
        if left <= 0:
            return False
        sock.settimeout(left)
        more = sock.recv(1024)
        if not more:
            return False
        heard += more
        if any(line.startswith(b"SSH-") for line in heard.split(b"\n")[:-1]):
            return True
    return False


def _answers_through(
    jump_hosts: JumpHosts, jump: Mapping[str, Any], address: str, port: int, seconds: float
) -> bool:
    try:
        with closing(jump_hosts.dial(jump, address, port, seconds)) as sock:
            await_banner(sock, address, seconds)
    except TransportError:
        return False
    return True


def answering(hosts: Sequence[Behind], seconds: float = _THROUGH_SECONDS) -> list[Behind]:
    """Return those that answer within ``seconds``, with one attempt at each address, all at the same time.

    An attempt that needs no jump host takes 3 s at most. Where else a host may be is asked only if it does
    not answer at once where it should be.
    """
    if not hosts:
        return []
    until = time.monotonic() + seconds
    heard = {host["name"]: threading.Event() for host in hosts}

    def asked(host: Behind, address: str) -> None:
        answered = heard[host["name"]]
        if address != host["address"] and answered.wait(min(_AT_ONCE_SECONDS, seconds / 2)):
            return
        left = until - time.monotonic()
        if left <= 0:
            return
        if "jump" in host:
            is_there = _answers_through(jump_hosts, host["jump"], address, host["port"], left)
        else:
            is_there = answers(address, host["port"], min(_TRY_SECONDS, left))
        if is_there:
            answered.set()

    places = [(host, host["address"]) for host in hosts]
    places += [(host, address) for host in hosts for address in host.get("also", ())]
    threads = ThreadPoolExecutor(min(_AT_ONCE, len(places)), thread_name_prefix="labrun-behind")
    # An existing login says nothing about the next one.
    with closing(JumpHosts()) as jump_hosts, threads as pool:
        list(pool.map(asked, *zip(*places, strict=True)))
    return [host for host in hosts if heard[host["name"]].is_set()]


def cut_off(hosts: Sequence[Behind], seconds: float) -> list[Behind]:
    """Return those that did not answer within ``seconds``; they are retried until they do."""
    until = time.monotonic() + seconds
    pause = _FIRST_PAUSE
    silent = list(hosts)
    while silent and (left := until - time.monotonic()) > 0:
        heard = [host["name"] for host in answering(silent, left)]
        silent = [host for host in silent if host["name"] not in heard]
        if silent:
            time.sleep(max(0.0, min(pause, until - time.monotonic())))
            pause = min(pause * 2, _LONGEST_PAUSE)
    return silent
