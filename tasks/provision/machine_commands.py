"""The commands that change a machine by hand, as far as both kinds of machines have them in common."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

from labrun.tasks.provision.domains import as_running, nic_key, nics_of, plugged_nics
from labrun.tasks.provision.driver import MachineSpec, NicSpec
from labrun.tasks.provision.network_commands import reconnect_commands
from labrun.tasks.provision.reconnect import can_reconnect, taps_of

__all__ = ["autostart_commands", "memory_commands", "nic_commands", "removal_commands", "run_commands"]


def run_commands(virsh: str, domain: str, state: str, start: Sequence[str]) -> list[str]:
    """Return the commands that make a machine run that does not; ``start`` are those for one that is off."""
    if state == "paused":
        return [f"{virsh} resume {domain} || {virsh} dompmwakeup {domain}"]
    if state == "crashed":
        return [f"{virsh} destroy {domain}", *start]
    return list(start)


def autostart_commands(virsh: str, spec: MachineSpec) -> list[str]:
    """Return the command that switches a machine's autostart."""
    return [f"{virsh} autostart {spec.domain}{'' if spec.autostart else ' --disable'}"]


def memory_commands(virsh: str, spec: MachineSpec) -> list[str]:
    """Return the commands that change the memory of a machine's definition."""
    size = f"{spec.memory}MiB --config"
    return [f"{virsh} setmaxmem {spec.domain} {size}", f"{virsh} setmem {spec.domain} {size}"]


def removal_commands(virsh: str, domain: str, state: str) -> list[str]:
    """Return the commands that remove a machine's domain, to be followed by those that create it."""
    lines = [f"{virsh} destroy {domain}"] if state in ("running", "paused", "crashed") else []
    return [*lines, f"{virsh} undefine {domain}"]


def nic_commands(
    uri: str, domain: Any, defined: str, wanted: Sequence[NicSpec], render: Callable[[NicSpec], str]
) -> list[str]:
    """Return the commands that unplug and plug NICs, now if the machine runs and in its definition.

    ``defined`` is the XML of the definition. In that their order counts, so all after the first difference
    are put there again. Raises libvirtError.
    """
    lines = []
    if domain.isActive():
        lines += _live(uri, domain, wanted, render)
    before = nics_of(defined)
    same = 0
    for have, want in zip(before, wanted, strict=False):
        if nic_key(have) != nic_key(want):
            break
        same += 1
    name = domain.name()
    lines += [_device(uri, "detach", name, render(nic), "--config") for nic in before[same:]]
    return lines + [_device(uri, "attach", name, render(nic), "--config") for nic in wanted[same:]]


def _live(uri: str, domain: Any, wanted: Sequence[NicSpec], render: Callable[[NicSpec], str]) -> list[str]:
    import libvirt

    name, there = domain.name(), nics_of(domain.XMLDesc(0))
    wanted = as_running(wanted, there)
    plugged = {nic_key(nic) for nic in plugged_nics(domain, there)}
    after = {nic_key(nic) for nic in wanted}
    lines = []
    for tap in taps_of(domain) if can_reconnect(uri) else ():
        nic = next((each for each in there if each.mac == tap.mac), None)
        if nic is not None and nic_key(nic) in after - plugged:
            with contextlib.suppress(libvirt.libvirtError):
                # A network that is not there or does not run has no bridge yet.
                network = domain.connect().networkLookupByName(tap.network)
                lines += reconnect_commands(uri, [tap], str(network.bridgeName()))
                plugged.add(nic_key(nic))
    kept = plugged & after
    lines += [
        _device(uri, "detach", name, render(nic), "--live") for nic in there if nic_key(nic) not in kept
    ]
    return lines + [
        _device(uri, "attach", name, render(nic), "--live") for nic in wanted if nic_key(nic) not in kept
    ]


def _device(uri: str, verb: str, domain: str, xml: str, flag: str) -> str:
    return f"virsh -c {uri} {verb}-device {domain} /dev/stdin {flag} <<'XML'\n{xml.rstrip()}\nXML"
