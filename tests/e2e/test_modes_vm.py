"""VMs in the network outside, and with IPv6 from the hypervisor: the modes that depend on the driver."""

from __future__ import annotations

from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.e2e.conftest import write_lab
from tests.e2e.segment import BRIDGE, DEVICE, LAN, PORT, WIRE, on_hypervisor, outer_segment, reached

LAB = f"""\
name: e2e-vmodes
hypervisor: qemu:///system
networks:
  lan: {{mode: bridge, bridge: {BRIDGE}, cidr: {LAN[0]}0/24, cidr6: "{LAN[1]}/64"}}
  wire: {{mode: macvtap, dev: {DEVICE}, cidr: {WIRE[0]}0/24}}
  six: {{mode: nat, cidr6: "fd00:82::/64"}}
hosts:
  v: {{networks: {{lan: {{ipv4: dhcp, ipv6: auto}}, wire: dhcp, six: {{ipv6: dhcp}}}}}}
"""
AS_WHOM = 'import urllib.request as u; print(u.urlopen("http://{}:{}", timeout=3).read().decode())'


@pytest.mark.vm
@pytest.mark.full
def test_a_vm_outside_and_by_ipv6_alone(hypervisor: None, tmp_path: Path) -> None:
    lab = write_lab(tmp_path, LAB)
    with outer_segment(tmp_path):
        try:
            up = lab.json("up", "--configure")
            assert up.exit_code == 0, up.trouble()
            # It is reached by IPv6 alone, as is implied by the file; the rest only its agent knows.
            (status,) = lab.json("status").document["hosts"]
            assert status["address_source"] == "lease"
            assert ip_address(status["addresses"]["six"]) in ip_network("fd00:82::/64")
            for network, wire in (("lan", LAN), ("wire", WIRE)):
                address = status["addresses"][network]
                assert 100 <= int(address.removeprefix(wire[0])) <= 150
                assert reached(address)
                answer = lab.guest("v", f"python3 -c '{AS_WHOM.format(wire[0] + '10', PORT)}'", sudo=False)
                assert ip_address(answer.strip()) == ip_address(address)
            ping = on_hypervisor("ping", "-c", "2", "-W", "1", status["addresses"]["wire"], check=False)
            assert "100% packet loss" in ping, "hypervisor and macvtap guests cannot meet"
            verified = lab.json("verify")
            assert verified.statuses() <= {"ok", "skipped"}, verified.trouble()
            assert lab.json("up").statuses() == {"ok"}
            assert lab.json("configure").statuses() == {"ok"}
        finally:
            down = lab.run("-y", "down")
    assert down.exit_code == 0, down.stderr
