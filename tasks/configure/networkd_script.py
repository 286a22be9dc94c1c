"""The shell text that has systemd-networkd apply its files, and take them back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from labrun.tasks.configure.nm_script import no_ipv6_file
from labrun.tasks.guest.scripts import guest_script, words
from labrun.tasks.guest.shell import install, quote
from labrun.tasks.state.item import Item

__all__ = ["NetworkdWork", "PreviousFile", "apply_networkd", "undo_networkd"]

_BRING = guest_script("networkd_bring").rstrip()
_BACK = guest_script("networkd_back").rstrip()
_SETTLE = guest_script("settle_global_ipv6").rstrip()
_MTU = 1500


@dataclass(frozen=True, slots=True)
class PreviousFile:
    """The state of a NIC before the change: the network file in force, empty if none, and the MTU."""

    interface: str
    file: str
    mtu: int


@dataclass(slots=True)
class NetworkdWork:
    """What the plan collects for the script: files, removals, and NICs to set.

    ``bring`` has interface, file, the NIC's name in the lab, and whether only the kernel's state is off: then
    the files have not changed, and it has to be set again.
    """

    items: list[Item] = field(default_factory=list)
    write: dict[str, str] = field(default_factory=dict)
    remove: list[str] = field(default_factory=list)
    bring: list[tuple[str, str, str, bool]] = field(default_factory=list)
    await_ipv6: bool = False
    enable_ipv6: list[str] = field(default_factory=list)
    reset_mtu: list[str] = field(default_factory=list)
    was: list[PreviousFile] = field(default_factory=list)
    gateways: list[str] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)


def apply_networkd(work: NetworkdWork, rebuild: str) -> str:
    """Return what writes and removes files and sets NICs; empty if there is nothing to do.

    ``rebuild`` is the command that makes network files of them, empty if they are some.
    """
    if not (work.write or work.remove or work.bring):
        return ""
    lines = [install(path, text, "0644") for path, text in work.write.items()]
    if work.remove:
        lines.append("rm -f " + words(dict.fromkeys(work.remove)))
    lines.append(_BRING)
    # An MTU that no file names any more stays.
    lines.extend(f"ip link set dev {quote(interface)} mtu {_MTU}" for interface in work.reset_mtu)
    lines.extend(f"echo 0 >{quote(no_ipv6_file(interface))}" for interface in work.enable_ipv6)
    lines += [*([rebuild] if rebuild else []), "networkctl reload"]
    for interface, path, nic, again in work.bring:
        lines.append(f"bring {words((interface, path, 'again' if again else '', nic))} || bad=1")
    if work.await_ipv6:
        lines.append(_SETTLE)
    return "\n".join([*lines, "exit $bad"])


def undo_networkd(touched: Iterable[str], nics: Sequence[PreviousFile], rebuild: str) -> str:
    """Return what restores files and NICs; before systemd-networkd starts the files suffice.

    Settings that were added to a NIC by hand are restored by the guard itself.
    """
    lines = [f"restore {quote(path)}" for path in dict.fromkeys(touched)]
    # Before the guard's turn in a boot netplan's generator has made network files of the others.
    lines += [rebuild] if rebuild else []
    lines.append('[ "$on" = live ] || exit 0')
    lines.append("systemctl is-active --quiet systemd-networkd || systemctl start systemd-networkd")
    lines += [_BRING, _BACK, "networkctl reload"]
    lines.extend(f"back {words((nic.interface, nic.file))} {nic.mtu} || bad=1" for nic in nics)
    return "\n".join([*lines, "exit $bad"]) + "\n"
