"""VMs whose NICs another manager than NetworkManager has: configured, verified, found drifted, restarted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import running_lab
from tests.labs import RunningLab

pytestmark = [pytest.mark.vm, pytest.mark.full]

LAB = """\
name: e2e-vm{variant}
hypervisor: qemu:///system
defaults: {{image: chosen, memory: 384}}
images: {{chosen: {{build: "debian-12:{variant}"}}}}
networks:
  left: {{cidr: 10.196.1.0/24, cidr6: "fd00:196:1::/64"}}
  right: {{mode: nat, cidr: 10.196.2.0/24}}
hosts:
  v:
    role: router
    networks: {{left: {{ipv4: 10.196.1.1, ipv6: "fd00:196:1::1"}}, right: dhcp}}
  c:
    {{driver: lxc, image: debian-12, memory: 256,
      networks: {{left: {{ipv4: 10.196.1.11, ipv6: "fd00:196:1::11"}}}}}}
"""
# Without KVM, and beside other tests.
SLOW = ("--timeout", "500")
NIC_FILES = {
    "networkd": "/etc/systemd/network/05-labrun-left.network",
    "ifupdown": "/etc/network/interfaces.d/labrun-left",
}


@pytest.fixture(scope="module", params=NIC_FILES)
def lab(
    request: pytest.FixtureRequest, hypervisor: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningLab]:
    """A router that is a VM of the variant, and a container beside it. The first run builds the image."""
    text = LAB.format(variant=request.param)
    yield from running_lab(tmp_path_factory.mktemp(request.param), text, *SLOW)


def is_as_declared(lab: RunningLab) -> None:
    for command in ("configure", "verify", "drift"):
        answer = lab.json(*SLOW, command)
        assert answer.exit_code == 0, (command, answer.bad())
        assert answer.statuses() <= {"ok", "skipped"}, (command, answer.rows)


def test_a_vm_of_another_family(lab: RunningLab) -> None:
    configured = lab.json(*SLOW, "configure")
    assert configured.exit_code == 0, configured.trouble()
    (path,) = (path for name, path in NIC_FILES.items() if name in lab.path.read_text(encoding="utf-8"))
    assert "10.196.1.1" in lab.guest("v", f"cat {path}")
    assert "NetworkManager" not in lab.guest("v", "ps -e")
    is_as_declared(lab)

    undone = lab.json(*SLOW, "exec", "--via", "agent", "--hosts", "v", "ip address flush dev eth0")
    assert undone.exit_code == 0, undone.trouble()
    verified = lab.json(*SLOW, "verify", "--hosts", "v")
    assert verified.exit_code in (1, 4)
    assert any("eth0" in (row["why"] or "") for row in verified.rows), verified.rows
    up = lab.json(*SLOW, "up")
    assert up.exit_code == 0, up.trouble()
    configured = lab.json(*SLOW, "configure")
    assert configured.exit_code == 0, configured.trouble()
    is_as_declared(lab)

    restart = lab.json(*SLOW, "restart", "--hosts", "v")
    assert restart.exit_code == 0, restart.trouble()
    is_as_declared(lab)
