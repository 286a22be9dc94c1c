"""The shell text that activates profiles without cutting the session, and its input."""

from __future__ import annotations

from dataclasses import dataclass, field

from labrun.tasks.configure.nm_diff import usual_mtu
from labrun.tasks.configure.nm_undo import PreviousState
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import install, quote
from labrun.tasks.state.item import Item

__all__ = ["Work", "apply_script", "no_ipv6_file"]

# reapply takes over a profile with the UUID of the active one, and no address goes away even for a
# moment. The exception is a profile with several IPv4 addresses whose first one changes: unless the kernel
# promotes the others (promote_secondaries), some are lost. Then, and for any other profile, the NIC goes down
# and up: in a separate unit, because the session may go down with it.
#
# nmcli first fetches NetworkManager's entire state; so the script talks to its D-Bus directly, and leaves
# it to nmcli to do, or to explain, what that refuses.
_BRING = guest_script("nm_bring")
# The kernel first checks a new IPv6 address for duplicates (RFC 4862) and uses it only then: for about
# two seconds a verify would find it dead. Link-local addresses are exempt: every NIC has one, and an
# IPv4-only lab should not wait for it.
_SETTLE = guest_script("settle_global_ipv6")


@dataclass(slots=True)
class Work:
    """What the plan collects for the script: files, removals, and NICs to activate.

    ``enable_ipv6`` are NICs on which the kernel has it switched off. ``writes_resolver`` = NetworkManager
    writes /etc/resolv.conf again. ``bring`` has interface, UUID, the NIC's D-Bus path if that profile is
    already active, network, and addresses to wait for.
    """

    items: list[Item] = field(default_factory=list)
    write: dict[str, str] = field(default_factory=dict)
    remove: list[str] = field(default_factory=list)
    load: list[str] = field(default_factory=list)
    bring: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    await_ipv6: bool = False
    enable_ipv6: list[str] = field(default_factory=list)
    writes_resolver: bool = False
    reset_mtu: list[str] = field(default_factory=list)
    was: list[PreviousState] = field(default_factory=list)
    former: list[str] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    gateways: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


def no_ipv6_file(interface: str) -> str:
    """Return the file of the kernel's switch that turns a NIC's IPv6 off."""
    return f"/proc/sys/net/ipv6/conf/{interface}/disable_ipv6"


def apply_script(work: Work) -> str:
    """Return what writes, removes and loads profiles and activates NICs; empty if there is nothing to do."""
    if not (work.load or work.bring):
        return ""
    lines = [install(path, text, "0600") for path, text in work.write.items()]
    if work.remove:
        lines.append("rm -f " + " ".join(quote(path) for path in dict.fromkeys(work.remove)))
    paths = " ".join(quote(path) for path in dict.fromkeys(work.load))
    lines += [_BRING.rstrip(), f"load {paths}"]
    # NetworkManager keeps the current MTU if the profile no longer sets one.
    lines.extend(map(usual_mtu, work.reset_mtu))
    lines.extend(f"echo 0 >{quote(no_ipv6_file(interface))}" for interface in work.enable_ipv6)
    for interface, uuid, way, network, addresses in work.bring:
        words = " ".join(quote(word) for word in (interface, uuid, way, network, addresses))
        lines.append(f"bring {words} || bad=1")
    # NetworkManager removes only what it has made itself, and not what a rollback has put back.
    lines.extend(f"ip link delete dev {quote(name)} 2>/dev/null || :" for name in work.former)
    if work.writes_resolver:
        lines.append("nmcli general reload dns-rc || bad=1")
    if work.await_ipv6:
        lines.append(_SETTLE.rstrip())
    return "\n".join([*lines, "exit $bad"])
