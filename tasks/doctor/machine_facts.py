"""Read what this machine is like: kernel values, routes, filter, limits, programs. Nothing is changed."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from ipaddress import ip_network
from pathlib import Path, PurePosixPath

from labrun.tasks.doctor.model import Clock, ForwardChain, Route, Space
from labrun.tasks.doctor.packet_filter import forward_chains, legacy_chain

__all__ = [
    "bridges",
    "clock",
    "devices",
    "dns_on_every_address",
    "inotify_used",
    "kernel_keys",
    "kernel_values",
    "memory",
    "processor_flag",
    "programs",
    "read_forward",
    "routes",
    "space",
]

_SECONDS = 20.0
_KEYS = (
    "net.ipv4.ip_forward",
    "net.ipv6.conf.all.forwarding",
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.bridge.bridge-nf-call-arptables",
    "fs.inotify.max_user_instances",
    "kernel.keys.maxkeys",
    "kernel.keys.root_maxkeys",
)
_PROGRAMS = (
    *("mmdebstrap", "mke2fs", "mcopy", "mkfs.fat", "sfdisk", "grub-mkimage", "qemu-img"),
    *("ssh", "ip", "nft", "nsenter", "tc", "tcpdump", "dnsmasq", "apt-get", "dnf"),
)
_SBIN = "/usr/local/sbin:/usr/sbin:/sbin"
_UNSYNCHRONISED = 0x40  # STA_UNSYNC in <sys/timex.h>
_DNS = "0035"


def kernel_values() -> dict[str, str]:
    """Return the kernel values that checks need, of this thread's network namespace."""
    found = {}
    for key in _KEYS:
        with contextlib.suppress(OSError):
            found[key] = Path("/proc/sys", *key.split(".")).read_text(encoding="ascii").strip()
    return found


def routes() -> tuple[Route, ...]:
    """Return the routes but the default ones; none where iproute2 is missing."""
    found = []
    for version in (4, 6):
        text = _output(["ip", "-j", f"-{version}", "route", "show"])
        for route in json.loads(text or "[]"):
            if route.get("dst", "default") != "default" and route.get("dev") not in (None, "lo"):
                to = ip_network(route["dst"], strict=False)
                if not to.is_link_local and not to.is_multicast:
                    own = route.get("protocol") == "kernel"
                    found.append(Route(to, route["dev"], str(route.get("gateway", "")), own))
    return tuple(found)


def bridges() -> frozenset[str]:
    """Return the names of the bridges; none where iproute2 is missing."""
    text = _output(["ip", "-j", "link", "show", "type", "bridge"])
    # Other devices are empty objects here.
    return frozenset(str(each["ifname"]) for each in json.loads(text or "[]") if "ifname" in each)


def devices() -> dict[str, bool]:
    """Return whether each network device is up, by name; none where iproute2 is missing."""
    text = _output(["ip", "-j", "link", "show"])
    return {str(each["ifname"]): "UP" in each.get("flags", ()) for each in json.loads(text or "[]")}


def read_forward(bridges: Iterable[str]) -> tuple[tuple[ForwardChain, ...] | None, str]:
    """Return the chains that drop what is forwarded, or None and why they cannot be read."""
    if os.geteuid() != 0:
        return None, "only root can: sudo labrun doctor"
    if shutil.which("nft") is None:
        return None, "nft is not installed"
    text = _output(["nft", "-j", "list", "ruleset"])
    if text is None:
        return None, "nft -j list ruleset fails"
    try:
        return (*forward_chains(text, bridges), *_legacy_chains()), ""
    except (ValueError, KeyError, TypeError):
        return None, "nft -j list ruleset answers with something else"


def _legacy_chains() -> Iterator[ForwardChain]:
    """Yield what the older iptables drops. To list its tables would load them: only those in use are."""
    for family, names in (("ip", "ip_tables_names"), ("ip6", "ip6_tables_names")):
        with contextlib.suppress(OSError):
            if "filter" in Path("/proc/thread-self/net", names).read_text(encoding="ascii").split():
                program = "iptables-legacy" if family == "ip" else "ip6tables-legacy"
                chain = legacy_chain(_output([program, "-S"]) or "", family)
                if chain is not None:
                    yield chain


def _output(command: list[str]) -> str | None:
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_SECONDS, stdin=subprocess.DEVNULL
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def inotify_used() -> int:
    """Return how many inotify instances root's processes have; another user sees only its own."""
    count = 0
    for process in _processes():
        with contextlib.suppress(OSError):
            if process.stat().st_uid != 0:
                continue
            for descriptor in os.scandir(process / "fd"):
                with contextlib.suppress(OSError):
                    count += os.readlink(descriptor) == "anon_inode:inotify"  # noqa: PTH115 - thousands of them
    return count


def _processes() -> Iterator[Path]:
    return (path for path in Path("/proc").iterdir() if path.name.isdecimal())


def kernel_keys() -> dict[int, int]:
    """Return how many kernel keys count against each user's quota, by user ID."""
    found = {}
    with contextlib.suppress(OSError):
        for line in Path("/proc/key-users").read_text(encoding="ascii").splitlines():
            user, _, rest = line.partition(":")
            found[int(user)] = int(rest.split()[2].partition("/")[0])
    return found


def memory() -> int:
    """Return the available memory in bytes."""
    for line in Path("/proc/meminfo").read_text(encoding="ascii").splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return 0


def space(path: PurePosixPath, holds: str) -> Space:
    """Return the space in a directory, or where it will be made."""
    there = next(each for each in (Path(path), *Path(path).parents) if each.exists())
    status = os.statvfs(there)
    return Space(path, status.f_bavail * status.f_frsize, holds)


def programs() -> Mapping[str, str]:
    """Return the paths of the programs that are there, in PATH and where those for root are."""
    path = f"{os.environ.get('PATH', os.defpath)}:{_SBIN}"
    found = {name: shutil.which(name, path=path) for name in _PROGRAMS}
    if Path("/run/systemd/system").is_dir():
        found["timedatectl"] = shutil.which("timedatectl")
    return {name: path for name, path in found.items() if path is not None}


def processor_flag() -> str:
    """Return ``vmx`` or ``svm`` if the processor offers virtualisation, else nothing."""
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("flags"):
            return next((flag for flag in ("vmx", "svm") if flag in line.split()), "")
    return ""


def dns_on_every_address() -> str:
    """Return which program holds port 53 on every address, empty if none does."""
    for table in ("udp", "tcp"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/thread-self/net/{table}").read_text(encoding="ascii").splitlines()[1:]:
                fields = line.split()
                if fields[1] == f"00000000:{_DNS}" and (table == "udp" or fields[3] == "0A"):
                    return _owner(fields[9])
    return ""


def _owner(inode: str) -> str:
    for process in _processes():
        with contextlib.suppress(OSError):
            for descriptor in (process / "fd").iterdir():
                if str(descriptor.readlink()) == f"socket:[{inode}]":
                    name = (process / "comm").read_text(encoding="utf-8").strip()
                    return f"{name} (pid {process.name})"
    return "another program"


class _Timex(ctypes.Structure):
    """The beginning of ``struct timex``; ``rest`` has room for what follows."""

    _fields_ = (
        ("modes", ctypes.c_uint),
        ("offset", ctypes.c_long),
        ("freq", ctypes.c_long),
        ("maxerror", ctypes.c_long),
        ("esterror", ctypes.c_long),
        ("status", ctypes.c_int),
        ("rest", ctypes.c_char * 256),
    )


def clock() -> Clock | None:
    """Return what the kernel knows of its clock, None if it does not say."""
    timex = _Timex()
    if ctypes.CDLL(None).adjtimex(ctypes.byref(timex)) < 0:
        return None
    return Clock(not timex.status & _UNSYNCHRONISED, timex.maxerror / 1e6)
