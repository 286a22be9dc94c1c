"""Through which host labrun goes to one that the hypervisor has no way to, and why nobody can be it."""

from __future__ import annotations

from pathlib import Path

import pytest

from labrun.inventory.file.load import load_lab
from labrun.inventory.hosts.locate import locate
from labrun.inventory.model import Lab
from labrun.inventory.topology.jump_hosts import entrance, jump_chain, jump_hosts, jumps
from labrun.tasks.configure.sshd_profiles import profile_of

NETWORKS = """\
name: lab
networks:
  open: {cidr: 10.1.0.0/24}
  mid: {mode: very-isolated, cidr: 10.2.0.0/24, cidr6: "fd00:2::/64"}
  deep: {mode: very-isolated, cidr: 10.3.0.0/24}
  bare: {cidr: 10.4.0.0/24, hypervisor_address: none}
  wire: {mode: macvtap, dev: eth7, cidr: 10.5.0.0/24}
filters:
  mute: [{deny: in, proto: tcp, port: 22}]
hosts:
"""
GATE = "gate: {role: router, networks: {open: 10.1.0.1, mid: 10.2.0.1}}"
INNER = "inner: {role: router, networks: {mid: 10.2.0.2, deep: 10.3.0.1}}"
PLAIN = "plain: {networks: {open: 10.1.0.9, mid: 10.2.0.9}}"
BOTH = "both: {networks: {open: 10.1.0.8, bare: 10.4.0.8, wire: 10.5.0.8}}"
MEMBER = "h: {networks: {mid: 10.2.0.5}}"
FAR = "h: {networks: {deep: 10.3.0.5}}"
ONLY_MID = "only on mid, where the hypervisor has no address"
BEYOND = "existing: {address: 192.0.2.7, role: router, networks: {deep: 10.3.0.7}}"


def lab_of(tmp_path: Path, *hosts: str) -> Lab:
    path = tmp_path / "lab.yaml"
    path.write_text(NETWORKS + "".join(f"  {host}\n" for host in hosts), encoding="utf-8")
    return load_lab(path)


@pytest.mark.parametrize(
    ("hosts", "chain", "address"),
    [
        ((GATE, "h: {networks: {open: 10.1.0.5}}"), (), "10.1.0.5"),
        ((GATE, MEMBER), ("gate",), "10.2.0.5"),
        ((GATE, INNER, FAR), ("gate", "inner"), "10.3.0.5"),
        # The fewest logins, then a router, then the order of the file.
        ((PLAIN, GATE, MEMBER), ("gate",), "10.2.0.5"),
        ((PLAIN, MEMBER), ("plain",), "10.2.0.5"),
        ((GATE, INNER, BEYOND, FAR), ("existing",), "10.3.0.5"),
        ((GATE, "h: {networks: {deep: 10.3.0.5, mid: 10.2.0.5}}"), ("gate",), "10.2.0.5"),
        # Only where both have an address of one IP version.
        ((GATE, 'h: {networks: {mid: "fd00:2::5"}}'), (), None),
        (
            (GATE.replace("mid: 10.2.0.1", 'mid: "fd00:2::1"'), 'h: {networks: {mid: "fd00:2::5"}}'),
            ("gate",),
            "fd00:2::5",
        ),
        (
            ("b: {networks: {open: 10.1.0.8, bare: 10.4.0.8}}", "h: {networks: {bare: 10.4.0.5}}"),
            ("b",),
            "10.4.0.5",
        ),
        (
            ("b: {networks: {open: 10.1.0.8, wire: 10.5.0.8}}", "h: {networks: {wire: 10.5.0.5}}"),
            ("b",),
            "10.5.0.5",
        ),
        # What the file keeps a login from is no way.
        ((GATE, "h: {networks: {mid: {ipv4: 10.2.0.5, filter: mute}}}"), (), None),
        ((GATE, "h: {networks: {mid: 10.2.0.5}, firewall: {input: drop, ssh: false}}"), (), None),
        ((GATE, "h: {networks: {mid: 10.2.0.5}, firewall: {input: drop}}"), ("gate",), "10.2.0.5"),
        ((GATE.replace("}}", "}, sshd: {AllowTcpForwarding: no}}"), PLAIN, MEMBER), ("plain",), "10.2.0.5"),
        ((GATE.replace("}}", "}, sshd: false}"), MEMBER), ("gate",), "10.2.0.5"),
        # As the file says.
        ((GATE, PLAIN, "h: {networks: {mid: 10.2.0.5}, access: {via: plain}}"), ("plain",), "10.2.0.5"),
        (
            (GATE, INNER, "h: {networks: {mid: 10.2.0.5}, access: {via: inner}}"),
            ("gate", "inner"),
            "10.2.0.5",
        ),
        ((GATE, INNER, "h: {networks: {deep: 10.3.0.5}, access: {via: gate}}"), ("gate",), "10.3.0.5"),
        (
            (GATE, "h: {networks: {open: 10.1.0.5, mid: 10.2.0.5}, access: {via: gate}}"),
            ("gate",),
            "10.1.0.5",
        ),
        ((GATE, "h: {address: 10.9.9.9, access: {via: gate}}"), ("gate",), "10.9.9.9"),
        (
            ("out: {address: 192.0.2.9}", "h: {networks: {deep: 10.3.0.5}, access: {via: out}}"),
            ("out",),
            "10.3.0.5",
        ),
    ],
)
def test_the_way_to_a_host(
    hosts: tuple[str, ...], chain: tuple[str, ...], address: str | None, tmp_path: Path
) -> None:
    lab = lab_of(tmp_path, *hosts)
    assert jump_chain(lab, "h") == chain
    located = locate(lab, None)["h"]
    assert (located.address, located.through) == (address, chain)
    assert {profile_of(lab, lab.hosts[name]) for name in jump_hosts(lab)} <= {"bastion"}


def test_a_jump_host_is_where_the_login_comes_from(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, GATE, INNER, FAR)
    found = jumps(lab)
    assert [(name, jump.via, jump.network, str(jump.client)) for name, jump in found.items()] == [
        ("inner", "gate", "mid", "10.2.0.1"),
        ("h", "inner", "deep", "10.3.0.1"),
    ]
    assert jump_hosts(lab) == {"gate", "inner"}


@pytest.mark.parametrize(
    ("hosts", "why"),
    [
        ((INNER, FAR), "only on deep, where the hypervisor has no address"),
        (
            (GATE.replace("}}", "}, sshd: {profile: host}}"), MEMBER),
            f"{ONLY_MID}; gate could be its jump host, but its sshd has profile host",
        ),
    ],
)
def test_why_nobody_leads_there(hosts: tuple[str, ...], why: str, tmp_path: Path) -> None:
    lab = lab_of(tmp_path, *hosts)
    assert entrance(lab, lab.hosts["h"]).why == why
    assert locate(lab, None)["h"].reason == why
