"""A lab with two VLANs on a trunk, for every test that has to tell them apart from its networks."""

from __future__ import annotations

from labrun.inventory.model import Lab
from tests.unit.twin_lab import lab_of

__all__ = ["VLANS", "vlans"]

VLANS = """\
name: vlans
hypervisor: qemu:///system
networks:
  mgmt: {cidr: 10.1.1.0/24}
  trunk: {mode: very-isolated}
  users: {cidr: 10.1.20.0/24, cidr6: "fd01:20::/64", mtu: 1400, vlan: {on: trunk, id: 20}}
  voice: {cidr: 10.1.30.0/24, vlan: {on: trunk, id: 30}}
hosts:
  gate:
    role: router
    networks:
      mgmt: 10.1.1.10
      users: {ipv4: 10.1.20.1, ipv6: "fd01:20::1"}
      trunk: none
      voice: 10.1.30.1
  pc: {networks: {trunk: none, users: {ipv4: 10.1.20.11, ipv6: "fd01:20::11"}}}
  phone: {networks: {trunk: none, voice: 10.1.30.12}}
"""


def vlans() -> Lab:
    """Return the lab of `VLANS`."""
    return lab_of(VLANS)
