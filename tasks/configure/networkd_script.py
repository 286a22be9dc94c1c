"""The shell text that has systemd-networkd apply its files, and take them back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from labrun.tasks.configure.nic_work import SETTLE, NicWork
from labrun.tasks.configure.nm_diff import usual_mtu
from labrun.tasks.configure.nm_script import no_ipv6_file
from labrun.tasks.configure.vlan_device import VLAN_DEVICE
from labrun.tasks.guest.scripts import guest_script, words
from labrun.tasks.guest.shell import quote

__all__ = ["NetworkdWork", "PreviousFile", "apply_networkd", "undo_networkd"]

_BRING = guest_script("networkd_bring").rstrip()
_BACK = guest_script("networkd_back").rstrip()


@dataclass(frozen=True, slots=True)
class PreviousFile:
    """The state of a NIC before the change: the network file in force, empty if none, and the MTU."""

    interface: str
    file: str
    mtu: int


@dataclass(slots=True)
class NetworkdWork(NicWork):
    """What the plan collects for the script, with the NICs to set.

    ``bring`` has interface, file, the NIC's name in the lab, and whether only the kernel's state is off: then
    the files have not changed, and it has to be set again. ``edits`` are the commands that change others'
    files, by path.
    """

    edits: dict[str, str] = field(default_factory=dict)
    bring: list[tuple[str, str, str, bool]] = field(default_factory=list)
    was: list[PreviousFile] = field(default_factory=list)


def apply_networkd(work: NetworkdWork, rebuild: str) -> str:
    """Return what writes and removes files and sets NICs; empty if there is nothing to do.

    ``rebuild`` is the command that makes network files of them, empty if they are some.
    """
    if not (work.write or work.remove or work.bring or work.devices):
        return ""
    lines = [*work.file_lines(), _BRING]
    lines.extend(f"{command} || bad=1" for command in work.edits.values())
    if work.devices:
        lines += [VLAN_DEVICE, *work.devices]
    # An MTU that no file names any more stays.
    lines.extend(map(usual_mtu, work.reset_mtu))
    lines.extend(f"echo 0 >{quote(no_ipv6_file(interface))}" for interface in work.enable_ipv6)
    lines += [*([rebuild] if rebuild else []), "networkctl reload"]
    for interface, path, nic, again in work.bring:
        lines.append(f"bring {words((interface, path, 'again' if again else '', nic))} || bad=1")
    if work.await_ipv6:
        lines.append(SETTLE)
    return "\n".join([*lines, "exit $bad"])


def undo_networkd(
    touched: Iterable[str], nics: Sequence[PreviousFile], rebuild: str, devices: Sequence[str] = ()
) -> str:
    """Return what restores files and NICs; before systemd-networkd starts the files suffice.

    Settings that were added to a NIC by hand are restored by the guard itself.
    """
    lines = [f"restore {quote(path)}" for path in dict.fromkeys(touched)]
    # Before the guard's turn in a boot netplan's generator has made network files of the others.
    lines += [rebuild] if rebuild else []
    lines.append('[ "$on" = live ] || exit 0')
    lines.append("systemctl is-active --quiet systemd-networkd || systemctl start systemd-networkd")
    lines += [_BRING, _BACK]
    # The last of what was made goes first.
    lines += [VLAN_DEVICE, *reversed(devices)] if devices else []
    lines.append("networkctl reload")
    lines.extend(f"back {words((nic.interface, nic.file))} {nic.mtu} || bad=1" for nic in nics)
    return "\n".join([*lines, "exit $bad"]) + "\n"
