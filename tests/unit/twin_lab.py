"""A lab whose host `h` has three NICs on one network, for every test that has to tell them apart."""

from __future__ import annotations

import io

from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab

__all__ = ["TWINS", "lab_of", "twins"]

TWINS = """\
name: twins
hypervisor: lxc:///system
networks:
  left: {cidr: 10.0.0.0/24, cidr6: "fd00:1::/64", mtu: 1400}
  right: {cidr: 10.0.1.0/24}
filters:
  web: [{deny: in, proto: tcp, port: 80, log: true}]
hosts:
  r: {networks: {left: 10.0.0.2, right: 10.0.1.2}, role: router}
  h:
    networks:
      left: {ipv4: 10.0.0.11, ipv6: "fd00:1::11"}
      left2: {network: left, ipv4: 10.0.0.12, ipv6: "fd00:1::12", filter: web}
      left3: {network: left, ipv4: dhcp}
  w: {networks: {left: 10.0.0.13}}
  x: {networks: {right: 10.0.1.13}}
"""


def lab_of(text: str) -> Lab:
    """Return the lab of a file with this text."""
    return load_lab("-", stdin=io.StringIO(text))


def twins() -> Lab:
    """Return the lab of `TWINS`."""
    return lab_of(TWINS)
