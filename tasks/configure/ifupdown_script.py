"""The shell text that has ifupdown apply its stanzas, and take them back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from labrun.tasks.configure.nic_work import SETTLE, NicWork
from labrun.tasks.configure.nm_diff import USUAL_MTU
from labrun.tasks.configure.nm_script import no_ipv6_file
from labrun.tasks.configure.vlan_device import VLAN_DEVICE
from labrun.tasks.guest.scripts import guest_script, words
from labrun.tasks.guest.shell import quote

__all__ = ["IfupdownWork", "PreviousStanza", "apply_ifupdown", "undo_ifupdown"]

_BRING = guest_script("ifupdown_bring").rstrip()


@dataclass(frozen=True, slots=True)
class PreviousStanza:
    """The state of a NIC before the change: whether ifupdown had brought it up, and the MTU."""

    interface: str
    was_up: bool
    mtu: int


@dataclass(slots=True)
class IfupdownWork(NicWork):
    """What the plan collects for the script, with the NICs to set.

    ``bring`` has interface, the NIC's name in the lab, and whether it goes by routers' advertisements.
    """

    bring: list[tuple[str, str, bool]] = field(default_factory=list)
    was: list[PreviousStanza] = field(default_factory=list)


def apply_ifupdown(work: IfupdownWork) -> str:
    """Return what writes and removes files and sets NICs; empty if there is nothing to do."""
    if not (work.write or work.remove or work.bring or work.devices):
        return ""
    lines = [*work.file_lines(), _BRING]
    if work.devices:
        lines += [VLAN_DEVICE, *work.devices]
    lines.extend(f"echo 0 >{quote(no_ipv6_file(interface))}" for interface in work.enable_ipv6)
    for interface, nic, announced in work.bring:
        mtu = str(USUAL_MTU) if interface in work.reset_mtu else ""
        lines.append(f"bring {words((interface, nic, mtu, 'announced' if announced else ''))} || bad=1")
    if work.await_ipv6:
        lines.append(SETTLE)
    return "\n".join([*lines, "exit $bad"])


def undo_ifupdown(touched: Iterable[str], nics: Sequence[PreviousStanza], devices: Sequence[str] = ()) -> str:
    """Return what restores files and NICs; before ifupdown starts the files suffice.

    Settings that were added to a NIC by hand are restored by the guard itself.
    """
    lines = [f"restore {quote(path)}" for path in dict.fromkeys(touched)]
    lines += ['[ "$on" = live ] || exit 0', _BRING]
    # The last of what was made goes first.
    lines += [VLAN_DEVICE, *reversed(devices)] if devices else []
    for nic in nics:
        if nic.was_up:
            lines.append(f"bring {words((nic.interface, nic.interface, str(nic.mtu), ''))} || bad=1")
        else:
            lines.append(f"ip link set dev {quote(nic.interface)} mtu {nic.mtu} || bad=1")
    return "\n".join([*lines, "exit $bad"]) + "\n"
