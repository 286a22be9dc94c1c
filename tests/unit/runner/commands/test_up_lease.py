"""What `up` waits for: the address that the file gives, or the lease of the NIC that takes one."""

from __future__ import annotations

from pathlib import Path

import pytest

from labrun.inventory.file.load import load_lab
from labrun.runner.engine.machine_jobs import awaited_lease

TEXT = """\
name: lab
networks:
  dual: {cidr: 10.1.0.0/24, cidr6: "fd00:1::/64"}
  six: {cidr6: "fd00:2::/64"}
  four: {cidr: 10.3.0.0/24}
  quiet: {mode: very-isolated, cidr: 10.4.0.0/24}
hosts: {h: {networks: %s}}
"""


@pytest.mark.parametrize(
    ("networks", "leased"),
    [
        ('{six: "fd00:2::5"}', None),
        ('{dual: "fd00:1::5"}', None),
        ("{four: 10.3.0.5}", None),
        ('{dual: {ipv4: 10.1.0.5, ipv6: "fd00:1::5"}}', None),
        ("{four: dhcp}", "four"),
        ('{four: dhcp, six: "fd00:2::5"}', None),
        ('{dual: {ipv4: dhcp, ipv6: "fd00:1::5"}}', "dual"),
        ("{quiet: 10.4.0.5, four: dhcp}", "four"),
        ("{four: dhcp, dual: dhcp}", "four"),
        ("{four: dhcp, dual: 10.1.0.5}", None),
    ],
)
def test_only_a_nic_that_takes_a_lease_is_waited_for(
    networks: str, leased: str | None, tmp_path: Path
) -> None:
    path = tmp_path / "lab.yaml"
    path.write_text(TEXT % networks, encoding="utf-8")
    lab = load_lab(path)
    nics = {nic.network: nic.mac for nic in lab.hosts["h"].interfaces}
    expected = None if leased is None else (nics[leased], (f"lab-{leased}",), False, 4)
    assert awaited_lease(lab, "h") == expected
