"""Whether the hypervisor has a way to a host, through which network, and if not, why."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest

from labrun.inventory.file.load import load_lab
from labrun.inventory.hosts.locate import locate
from labrun.inventory.model import Lab
from labrun.inventory.topology.jump_hosts import entrance
from labrun.inventory.topology.way_in import WayIn, way_in
from labrun.ports import Lease

TEXT = """\
name: lab
networks:
  dual: {{cidr: 10.1.0.0/24, cidr6: "fd00:1::/64"}}
  four: {{mode: nat, cidr: 10.3.0.0/24}}
  six: {{cidr6: "fd00:2::/64"}}
  quiet: {{mode: very-isolated, cidr: 10.4.0.0/24}}
  bare: {{cidr: 10.5.0.0/24, hypervisor_address: none}}
  half: {{cidr: 10.6.0.0/24, cidr6: "fd00:6::/64", hypervisor_address: {{ipv4: none}}}}
  link: {{cidr: 10.7.0.0/31}}
  lan: {{mode: bridge, bridge: br0}}
  wire: {{mode: macvtap, dev: eth7, cidr: 10.8.0.0/24}}
hosts:
  h: {{networks: {networks}}}
  other: {{role: router, networks: {{link: 10.7.0.1, dual: 10.1.0.1}}}}
"""


class NoLeases:
    """A hypervisor on which nobody has a lease yet."""

    def leases(self, networks: Iterable[str]) -> tuple[Lease, ...]:
        del networks
        return ()


MACVTAP = "on wire, a macvtap network: hypervisor and guests cannot reach each other there"


def lab_of(tmp_path: Path, networks: str) -> Lab:
    path = tmp_path / "lab.yaml"
    path.write_text(TEXT.format(networks=networks), encoding="utf-8")
    return load_lab(path)


@pytest.mark.parametrize(
    ("networks", "way"),
    [
        ("{dual: 10.1.0.5}", WayIn("dual", (4,))),
        ('{dual: "fd00:1::5"}', WayIn("dual", (6,))),
        ('{dual: {ipv4: 10.1.0.5, ipv6: "fd00:1::5"}}', WayIn("dual", (4, 6))),
        ("{quiet: 10.4.0.5, four: dhcp}", WayIn("four", (4,))),
        ('{four: dhcp, six: "fd00:2::5"}', WayIn("six", (6,))),
        ('{half: {ipv4: 10.6.0.5, ipv6: "fd00:6::5"}}', WayIn("half", (6,))),
        ("{lan: dhcp, dual: 10.1.0.5}", WayIn("dual", (4,))),
        ("{wire: 10.8.0.5, lan: dhcp}", WayIn("lan", (4,))),
        ("{quiet: 10.4.0.5}", "only on quiet, where the hypervisor has no address"),
        (
            "{quiet: 10.4.0.5, bare: 10.5.0.5, link: 10.7.0.0}",
            "only on quiet, bare and link, where the hypervisor has no address",
        ),
        (
            "{quiet: 10.4.0.5, wire: dhcp}",
            f"only on quiet, where the hypervisor has no address; {MACVTAP}",
        ),
        ("{half: 10.6.0.5}", "only on half by IPv4, where the hypervisor has only IPv6"),
    ],
)
def test_the_way_in_is_the_nearest_network_or_the_reason_why_there_is_none(
    networks: str, way: WayIn | str, tmp_path: Path
) -> None:
    lab = lab_of(tmp_path, networks)
    expected = WayIn(None, why=way) if isinstance(way, str) else way
    assert way_in(lab, lab.hosts["h"]) == expected
    # Whoever looks for the host's address goes the same way or through a host beside it, or says the same.
    located, taken = locate(lab, NoLeases())["h"], entrance(lab, lab.hosts["h"])
    assert taken == expected or located.through == ("other",)
    if located.address is None:
        assert located.reason == (taken.why or f"no lease on {taken.network}")
    else:
        assert located.network == taken.network


def test_an_existing_machine_is_reached_where_it_says(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, "{quiet: 10.4.0.5}, address: 192.0.2.1")
    assert way_in(lab, lab.hosts["h"]) == WayIn(None, (4, 6))
