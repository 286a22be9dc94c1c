"""A router that changes the tag of a VLAN alone, on machines with kernels of their own, goes back."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.e2e.conftest import write_lab
from tests.labs import RunningLab

pytestmark = [pytest.mark.vm, pytest.mark.full]

TEXT = """\
name: e2e-bothvlan
hypervisor: qemu:///system
defaults: {image: debian-12, memory: 384}
networks:
  mgmt: {cidr: 10.196.61.0/24}
  trunk: {mode: very-isolated}
  users: {cidr: 10.196.62.0/24, vlan: {on: trunk, id: 20}}
hosts:
  gate: {role: router, networks: {mgmt: 10.196.61.10, trunk: none, users: 10.196.62.1}}
  pc: {networks: {trunk: none, users: 10.196.62.11}}
"""
# Without KVM, and beside other tests.
SLOW = ("--timeout", "800")


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    made = write_lab(tmp_path_factory.mktemp("bothvlan"), TEXT)
    try:
        # Two commands: on a busy machine the first takes most of the time that one has.
        up = made.json(*SLOW, "up")
        assert up.exit_code == 0, up.trouble()
        configured = made.json(*SLOW, "configure")
        assert configured.exit_code == 0, configured.trouble()
        yield made
    finally:
        made.run("-y", "down")


def tags(lab: RunningLab) -> dict[str, str]:
    """Return the tag of each host's device, read without its network."""
    script = "ip -d link show type vlan | grep -o ' id [0-9]*'"
    answer = lab.json(*SLOW, "exec", "--via", "agent", script)
    assert answer.exit_code == 0, answer.trouble()
    return {row["host"]: row["actual"].split()[1] for row in answer.rows}


def retag(lab: RunningLab, old: int, new: int) -> RunningLab:
    """Return the same lab with another tag in its file."""
    other = write_lab(lab.path.parent / f"tag-{new}", TEXT.replace(f"id: {old}", f"id: {new}"))
    return RunningLab(other.path, lab.state)


def test_only_one_end_of_them_goes_back(lab: RunningLab) -> None:
    answer = retag(lab, 20, 21).json(*SLOW, "--hosts", "gate", "configure")
    assert answer.exit_code == 1
    whys = [row["why"] for row in answer.rows if row["status"] == "rolled-back"]
    assert any("reached through this host, pc no longer answers" in why for why in whys), answer.rows
    assert tags(lab) == {"gate": "20", "pc": "20"}
