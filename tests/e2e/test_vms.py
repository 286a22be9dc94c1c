"""The example lab once more, as real virtual machines: made, configured, verified and taken down."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import libvirt
import pytest

from tests.e2e.conftest import example, write_lab

QEMU = "qemu:///system"
LAB = "e2e-vms"


def left_of_the_lab() -> list[str]:
    """Return what libvirt and the file system still have of the lab."""
    found: list[str] = []
    for uri in (QEMU, "lxc:///system"):
        connection = libvirt.open(uri)
        try:
            found += [domain.name() for domain in connection.listAllDomains()]
            found += [network.name() for network in connection.listAllNetworks()]
            if uri == QEMU:
                found += [pool.name() for pool in connection.listAllStoragePools()]
        finally:
            connection.close()
    found += [str(path) for path in Path("/var/lib/labrun/labs").glob("*")]
    return [name for name in found if LAB in name]


def of_the_example(machines: Sequence[str], containers: Sequence[str]) -> str:
    """Return the lab with these hosts alone; what is checked between others is checked with the last."""
    text = example("kvm-network-lab.yaml", lab=LAB, first="10.118", hypervisor=QEMU)
    lines = [
        re.sub("(  host0.: {)", r"\1driver: lxc, ", line) if host_of(line) in containers else line
        for line in text.splitlines()
        if host_of(line) is None or host_of(line) in (*machines, *containers)
    ]
    last = (*machines, *containers)[-1]
    return "\n".join(lines).replace("to: host03", f"to: {last}") + "\n"


def host_of(line: str) -> str | None:
    found = re.match("  (host0.):", line)
    return found and found[1]


# Without KVM each takes a processor for minutes: in `make test` only the router does, between containers.
@pytest.mark.vm
@pytest.mark.parametrize(
    ("machines", "containers"),
    [
        (["host00"], ["host01", "host04"]),
        pytest.param(["host00", "host01", "host04"], [], marks=pytest.mark.full),
        pytest.param([f"host0{number}" for number in range(5)], [], marks=pytest.mark.full),
    ],
    ids=["router", "one of each", "all"],
)
def test_the_example_lab_as_virtual_machines(
    hypervisor: None, tmp_path: Path, machines: list[str], containers: list[str]
) -> None:
    hosts = [*machines, *containers]
    lab = write_lab(tmp_path, of_the_example(machines, containers))
    try:
        up = lab.json("up")
        assert up.exit_code == 0, up.trouble()
        assert {row["host"] for row in up.of("ready")} == set(hosts)
        assert lab.json("up").statuses() == {"ok"}

        configured = lab.json("configure")
        assert configured.exit_code == 0, configured.trouble()
        assert configured.of("sysctl", "host00", "net.ipv4.ip_forward")[0]["status"] == "changed"
        again = lab.json("configure")
        assert (again.exit_code, again.statuses()) == (0, {"ok"})

        # A VLAN has the MAC of its NIC; the kernel of the containers has none.
        vlan = "link add link eth0 name eth0.100 type vlan id 100"
        lab.guest(
            machines[-1], f"ip {vlan}; ip addr add 192.168.77.5/24 dev eth0.100; ip link set eth0.100 up"
        )
        # Without KVM, and beside other tests, a login alone may take longer than is usually waited.
        patient = ("--timeout", "120")
        verified = lab.json(*patient, "verify")
        assert verified.exit_code == 0, verified.trouble()
        status = lab.json(*patient, "status")
        entries = {entry["name"]: entry for entry in status.document["hosts"]}
        path = verified.of("path", "host01", f"host01 -> {hosts[-1]}")[0]
        assert path["status"] == "ok"
        assert path["actual"] == f"10.118.0.254 {entries[hosts[-1]]['addresses']['network2']}"

        drivers = dict.fromkeys(machines, "qemu") | dict.fromkeys(containers, "lxc")
        assert {name: entry["driver"] for name, entry in entries.items()} == drivers
        assert {entry["ssh"] for entry in entries.values()} == {"ok"}
    finally:
        down = lab.json("-y", "down")
    assert down.exit_code == 0, down.trouble()
    assert left_of_the_lab() == []
