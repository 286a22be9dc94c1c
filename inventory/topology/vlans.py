"""NICs on VLANs: the NIC of the host that carries each of them, and the name of its device: pure."""

from __future__ import annotations

from labrun.inventory.model import Host, Interface, Lab

__all__ = ["carrier", "is_on_vlan", "vlan_device"]


def is_on_vlan(lab: Lab, nic: Interface) -> bool:
    """Tell whether a NIC is a VLAN device in its host, which libvirt knows nothing of."""
    return lab.networks[nic.network].vlan is not None


def carrier(lab: Lab, host: Host, nic: Interface) -> Interface:
    """Return the NIC whose frames carry those of this one: itself, unless it is on a VLAN."""
    vlan = lab.networks[nic.network].vlan
    return nic if vlan is None else host.nics_on(vlan.on)[0]


def vlan_device(lab: Lab, host: Host, nic: Interface) -> str:
    """Return the name of a VLAN's device in its host, empty for any other NIC.

    It is ``vlan20``; a host on two networks with a VLAN 20 on each has a ``vlan20-2`` as well.
    """
    vlan = lab.networks[nic.network].vlan
    if vlan is None:
        return ""
    others = (lab.networks[each.network].vlan for each in host.interfaces)
    same = [each.on for each in others if each is not None and each.id == vlan.id]
    place = same.index(vlan.on)
    return f"vlan{vlan.id}" + (f"-{place + 1}" if place else "")
