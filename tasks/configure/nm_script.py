"""The shell text that puts profiles in force without cutting the session, and what it is made from."""

from __future__ import annotations

from dataclasses import dataclass, field

from labrun.tasks.configure.nm_undo import Was
from labrun.tasks.configure.plan import Item
from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import install, quote

__all__ = ["Work", "apply_script"]

_MTU = 1500

# A profile with the UUID of the active one is taken over by reapply, and no address goes away for a
# moment. Of several IPv4 addresses it loses some where the first changes and the kernel does not promote the
# others (promote_secondaries). Then, and otherwise, the NIC goes down and up: as a unit of its own, because
# the session may go with it.
#
# nmcli first asks for everything that NetworkManager knows; so it is spoken to directly, and what it
# refuses is left to nmcli to do or to explain.
_BRING = guest_script("nm_bring")
# The kernel first asks whether somebody else has a new IPv6 address (RFC 4862) and uses it only then:
# about two seconds in which whoever verifies would find it dead. Not for link-local addresses: every NIC
# has one, and nobody is to wait for it where IPv4 is all there is.
_SETTLE = guest_script("settle_global_ipv6")


@dataclass(slots=True)
class Work:
    """What the plan collects for the one script: files, removals, and NICs to bring up.

    ``bring`` has interface, UUID, the NIC's D-Bus path where that profile is the active one already,
    network, and addresses to look for.
    """

    items: list[Item] = field(default_factory=list)
    write: dict[str, str] = field(default_factory=dict)
    remove: list[str] = field(default_factory=list)
    load: list[str] = field(default_factory=list)
    bring: list[tuple[str, str, str, str, str]] = field(default_factory=list)
    await_ipv6: bool = False
    reset_mtu: list[str] = field(default_factory=list)
    was: list[Was] = field(default_factory=list)
    gateways: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


def apply_script(work: Work) -> str:
    """Return what writes, removes and loads profiles and brings NICs up; empty where nothing is to do."""
    if not (work.load or work.bring):
        return ""
    lines = [install(path, text, "0600") for path, text in work.write.items()]
    if work.remove:
        lines.append("rm -f " + " ".join(quote(path) for path in dict.fromkeys(work.remove)))
    paths = " ".join(quote(path) for path in dict.fromkeys(work.load))
    lines += [_BRING.rstrip(), f"load {paths}"]
    # NetworkManager leaves an MTU as it is when the profile no longer names one.
    lines.extend(f"ip link set dev {quote(interface)} mtu {_MTU}" for interface in work.reset_mtu)
    for interface, uuid, way, network, addresses in work.bring:
        words = " ".join(quote(word) for word in (interface, uuid, way, network, addresses))
        lines.append(f"bring {words} || bad=1")
    if work.await_ipv6:
        lines.append(_SETTLE.rstrip())
    return "\n".join([*lines, "exit $bad"])
