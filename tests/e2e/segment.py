"""The network outside a lab, made beside libvirtd's: a web server and a DHCP server on two wires.

The hypervisor is on the first by a bridge, on the second by a NIC, as a machine with two NICs would be.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from labrun.hypervisor import daemon_pid

__all__ = [
    "BRIDGE",
    "DEVICE",
    "LAN",
    "PORT",
    "WIRE",
    "in_segment",
    "on_hypervisor",
    "outer_segment",
    "reached",
]

URI = "lxc:///system"
SPACE, BRIDGE, DEVICE = "t-segment", "t-out", "t-wire"
PORT = 8000
# The first parts of the addresses on the two wires: .2 is the hypervisor, .10 the servers.
LAN = ("203.0.113.", "fd00:113::")
WIRE = ("198.51.100.", "fd00:198::")
_SECONDS = 60.0
_SERVER = f"""
import http.server, socket
class Mirror(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(self.client_address[0].removeprefix("::ffff:").encode())
    def log_message(self, *words):
        pass
class Server(http.server.ThreadingHTTPServer):
    address_family = socket.AF_INET6
Server(("::", {PORT}), Mirror).serve_forever()
"""


def on_hypervisor(*words: str, check: bool = True) -> str:
    """Run a command in the network that libvirtd is in; returns its output."""
    pid = daemon_pid(URI)
    assert pid is not None, "no libvirtd: run scripts/hypervisor start"
    return _run("nsenter", "-t", str(pid), "-n", *words, check=check)


def in_segment(*words: str, check: bool = True) -> str:
    """Run a command on the machine outside; returns its output."""
    return _run("ip", "netns", "exec", SPACE, *words, check=check)


def _run(*words: str, check: bool = True) -> str:
    done = subprocess.run(words, capture_output=True, text=True, timeout=_SECONDS, check=False)
    assert done.returncode == 0 or not check, f"{words}: {done.stderr}"
    return done.stdout


def reached(address: str, port: int = 22) -> bool:
    """Tell whether the machine outside gets a connection to a port."""
    where = f"/dev/tcp/{address}/{port}"
    return "yes" in in_segment("timeout", "3", "bash", "-c", f"exec 3<>{where} && echo yes", check=False)


@contextmanager
def outer_segment(directory: Path, *routed: str) -> Iterator[None]:
    """Make the network outside, with routes by the hypervisor to ``routed``, and take it away after."""
    with ExitStack() as stack:
        _remove()
        stack.callback(_remove)
        _run("ip", "netns", "add", SPACE)
        on_hypervisor("ip", "link", "add", BRIDGE, "type", "bridge")
        # libvirt starts no forwarding network where a device has routes from router advertisements.
        on_hypervisor("sysctl", "-qw", f"net.ipv6.conf.{BRIDGE}.accept_ra=0")
        # Unless its MAC is set, a bridge takes that of the last port, and with it another link-local address.
        on_hypervisor("ip", "link", "set", BRIDGE, "address", "02:00:5e:00:00:02", "up")
        on_hypervisor(
            "ip", "link", "add", f"{BRIDGE}-up", "type", "veth", "peer", "name", "e0", "netns", SPACE
        )
        on_hypervisor("ip", "link", "set", f"{BRIDGE}-up", "master", BRIDGE, "up")
        on_hypervisor("ip", "link", "add", DEVICE, "type", "veth", "peer", "name", "e1", "netns", SPACE)
        on_hypervisor("sysctl", "-qw", f"net.ipv6.conf.{DEVICE}.accept_ra=0")
        on_hypervisor("ip", "link", "set", DEVICE, "up")
        in_segment("ip", "link", "set", "lo", "up")
        for (four, six), own, theirs in ((LAN, BRIDGE, "e0"), (WIRE, DEVICE, "e1")):
            in_segment("ip", "link", "set", theirs, "up")
            for run, device, end in ((on_hypervisor, own, "2"), (in_segment, theirs, "10")):
                run("ip", "address", "add", f"{four}{end}/24", "dev", device)
                run("ip", "address", "add", f"{six}{end}/64", "dev", device, "nodad")
        for prefix in routed:
            in_segment("ip", "route", "add", prefix, "via", LAN[":" in prefix] + "2")
        for command in (
            [sys.executable, "-c", _SERVER],
            [
                *(
                    "dnsmasq",
                    "--keep-in-foreground",
                    "--no-hosts",
                    "--no-resolv",
                    "--port=0",
                    "--bind-interfaces",
                ),
                *(
                    "--interface=e0",
                    "--interface=e1",
                    "--dhcp-authoritative",
                    "--enable-ra",
                    "--conf-file=/dev/null",
                ),
                *(f"--dhcp-range={four}100,{four}150,255.255.255.0" for four in (LAN[0], WIRE[0])),
                *(f"--dhcp-range=::,constructor:{device},ra-only" for device in ("e0", "e1")),
                *(f"--dhcp-leasefile={directory / 'leases'}", f"--pid-file={directory / 'dnsmasq.pid'}"),
            ],
        ):
            log = stack.enter_context((directory / "segment.log").open("a"))
            process = subprocess.Popen(["ip", "netns", "exec", SPACE, *command], stdout=log, stderr=log)
            stack.callback(process.wait, 10)
            stack.callback(process.terminate)
        until = time.monotonic() + _SECONDS
        while not (reached(LAN[0] + "10", PORT) and (directory / "dnsmasq.pid").exists()):
            assert time.monotonic() < until, (directory / "segment.log").read_text()
            time.sleep(0.1)
        yield


def _remove() -> None:
    for device in (f"{BRIDGE}-up", DEVICE, BRIDGE):
        on_hypervisor("ip", "link", "delete", device, check=False)
    _run("ip", "netns", "delete", SPACE, check=False)
