"""A controller, a router and a host behind it as network namespaces, and who is seen to answer there.

Run as a process of its own, as root; prints JSON. The hosts' SSH servers only say their version.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

from labrun.tasks.configure.behind import Behind, answering, answers, cut_off, leads
from labrun.tasks.configure.neighbour import forget_neighbour
from tests.kernel.namespaces import _enter, build

ROUTER, ROUTER6, FAR, FAR6 = "10.0.0.254", "fd00::fe", "10.0.1.2", "fd00:1::2"
MUTE_NDP = """\
table inet mute { chain in { type filter hook input priority 0; icmpv6 type nd-neighbor-solicit drop; }; }
"""
SPEAKS, SILENT, OTHER, CHATTY, NOBODY = 22, 23, 80, 2022, 99
BANNERS = {
    SPEAKS: b"SSH-2.0-labrun-test\r\n",
    SILENT: b"",
    OTHER: b"HTTP/1.1 400 no\r\n",
    CHATTY: b"hello\r\nSSH-2.0-x\r\n",
}


def host(
    nics: list[tuple[int, list[str]]], routes: list[tuple[str, str, int]], **sysctl: str
) -> dict[str, Any]:
    return {"nics": [(*nic, 100) for nic in nics], "routes": routes, "sysctl": sysctl, "nft": ""}


TOPOLOGY = {
    "networks": [[], []],
    "hosts": [
        host(
            [(0, ["10.0.0.1/24", "fd00::1/64"])],
            [("10.0.1.0/24", ROUTER, 0), ("fd00:1::/64", ROUTER6, 0)],
        ),
        {
            **host([(0, [f"{ROUTER}/24", f"{ROUTER6}/64"]), (1, ["10.0.1.254/24", "fd00:1::fe/64"])], []),
            "sysctl": {"net.ipv4.ip_forward": "1", "net.ipv6.conf.all.forwarding": "1"},
        },
        host(
            [(1, [f"{FAR}/24", f"{FAR6}/64"])],
            [("10.0.0.0/24", "10.0.1.254", 0), ("fd00::/64", "fd00:1::fe", 0)],
        ),
    ],
}


def serve(port: int, banner: bytes) -> None:
    """Listen in the namespace that the thread is in now; say the banner to whoever comes."""
    listening = socket.create_server(("::", port), family=socket.AF_INET6, dualstack_ipv6=True)

    def work() -> None:
        kept = []
        while True:
            taken, _ = listening.accept()
            kept.append(taken)  # a server that is silent does not hang up either
            taken.sendall(banner)

    threading.Thread(target=work, daemon=True).start()


def target(name: str, address: str, port: int = SPEAKS) -> Behind:
    return {"name": name, "address": address, "port": port}


def names(found: list[Behind]) -> list[str]:
    return [each["name"] for each in found]


def as_nobody(address: str) -> int:
    """Forget a neighbour as a user who may not; returns the exit status of the process that tried."""
    child = os.fork()
    if child == 0:
        os.setuid(65534)
        forget_neighbour(address)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def kept_by_hand() -> dict[str, list[bool]]:
    """Return for addresses nobody has whether an entry for them is left: made by hand, and learnt."""
    link = json.loads(subprocess.check_output(["ip", "-j", "route", "get", ROUTER]))[0]["dev"]
    found = {}
    for address in ("10.0.0.77", "fd00::77", "fe80::77"):
        left = []
        for state in ("permanent", "reachable"):
            words = ["to", address, "lladdr", "02:00:00:00:00:77", "dev", link]
            subprocess.run(["ip", "neigh", "replace", *words, "nud", state], check=True)
            forget_neighbour(f"{address}%{link}" if address.startswith("fe80") else address)
            shown = subprocess.check_output(["ip", "neigh", "show", "to", address], text=True)
            left.append("02:00:00:00:00:77" in shown)
            subprocess.run(["ip", "neigh", "del", "to", address, "dev", link], check=False)
        found[address] = left
    return found


def main() -> None:
    """Go through the scene and print what was seen."""
    namespaces = build(TOPOLOGY)
    controller, router, far = namespaces
    for where in (router, far):
        _enter(where)
        for port, banner in BANNERS.items():
            serve(port, banner)
    _enter(controller)
    seen: dict[str, Any] = {}
    asked = {
        "r": ROUTER,
        "r6": ROUTER6,
        "far": FAR,
        "far6": FAR6,
        "nowhere": "203.0.113.1",
        "name": "localhost",
    }
    seen["leads"] = {
        name: [lead.known, str(lead.via), str(lead.source)] for name, lead in leads(asked).items()
    }
    seen["answers"] = {
        f"{address} {port}": answers(address, port, 0.5)
        for address in (ROUTER, ROUTER6, FAR, FAR6)
        for port in (*BANNERS, NOBODY)
    }
    both = [target("r", ROUTER), target("far", FAR), target("far6", FAR6), target("none", FAR, NOBODY)]
    seen["answering"] = names(answering(both))

    # The router answers nobody any more who asks for its link-layer address.
    _enter(router)
    Path("/proc/sys/net/ipv4/conf/all/arp_ignore").write_text("8\n", encoding="ascii")
    subprocess.run(["nft", "-f", "-"], input=MUTE_NDP, text=True, check=True)
    _enter(controller)
    seen["cached"] = [answers(ROUTER, SPEAKS, 1.0), answers(ROUTER6, SPEAKS, 1.0)]
    seen["nobody"] = as_nobody(ROUTER)
    seen["still cached"] = answers(ROUTER, SPEAKS, 1.0)
    for address in (FAR, "localhost", "203.0.113.1"):
        forget_neighbour(address)
    seen["others forgotten"] = answers(ROUTER, SPEAKS, 1.0)
    forget_neighbour(ROUTER)
    seen["forgotten"] = [answers(ROUTER, SPEAKS, 1.0), answers(ROUTER6, SPEAKS, 1.0)]
    forget_neighbour(ROUTER6)
    seen["forgotten6"] = answers(ROUTER6, SPEAKS, 1.0)
    seen["kept"] = kept_by_hand()
    _enter(router)
    Path("/proc/sys/net/ipv4/conf/all/arp_ignore").write_text("0\n", encoding="ascii")
    subprocess.run(["nft", "flush", "ruleset"], check=True)
    _enter(controller)
    seen["heard again"] = names(cut_off([target("r", ROUTER), target("r6", ROUTER6)], 10.0))

    # The router forwards no more, then again.
    forward = Path("/proc/sys/net/ipv4/ip_forward")
    _enter(router)
    forward.write_text("0\n", encoding="ascii")
    _enter(controller)
    seen["cut off"] = names(cut_off(both[:3], 1.0))

    def again() -> None:
        _enter(router)
        forward.write_text("1\n", encoding="ascii")

    timer = threading.Timer(0.7, again)
    timer.start()
    seen["answers again"] = names(cut_off(both[:3], 10.0))
    timer.join()
    json.dump(seen, sys.stdout)


if __name__ == "__main__":
    main()
