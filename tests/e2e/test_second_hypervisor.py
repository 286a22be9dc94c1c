"""A lab of real VMs on a real remote hypervisor: it comes up through it, and another one uploads nothing."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.labs import Answer, RunningLab
from tests.second_hypervisor import SecondHypervisor, lab_on

# Two VMs without KVM, in a container: two minutes until they answer.
pytestmark = [pytest.mark.lxc, pytest.mark.vm, pytest.mark.full, pytest.mark.timeout(1800)]

HOSTS = ("gate", "desk")
LAB = """\
name: {name}
hypervisor: {uri}
defaults: {{image: debian-12, memory: 384, disk: 3}}
networks:
  lan: {{mode: isolated, cidr: {net}.1.0/24}}
  out: {{mode: nat, cidr: {net}.2.0/24}}
hosts:
  gate: {{role: router, networks: {{lan: {net}.1.254, out: {net}.2.5}}}}
  desk: {{networks: {{lan: dhcp}}}}
"""


@pytest.fixture(scope="module")
def up(
    older: SecondHypervisor, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[RunningLab, Answer]]:
    """The lab, as a user in the group libvirt makes it, and what its first `up` said."""
    text = LAB.format(name="e2e-far", uri=older.uri("lab"), net="10.195")
    made = lab_on(older, tmp_path_factory.mktemp("far"), text)
    try:
        yield made, made.json("up")
    finally:
        made.run("-y", "down")


@pytest.fixture(scope="module")
def lab(up: tuple[RunningLab, Answer]) -> RunningLab:
    made, answer = up
    assert answer.exit_code == 0, answer.bad() or answer.stderr
    return made


def test_up_makes_all_of_it_and_a_second_up_nothing(up: tuple[RunningLab, Answer]) -> None:
    made, first = up
    assert first.exit_code == 0, first.bad() or first.stderr
    assert {row["host"] for row in first.of("ready") if row["status"] == "ok"} == set(HOSTS)
    (image,) = first.of("image")
    assert (image["status"], image["actual"]) == ("changed", "qemu: uploaded")
    assert made.json("up").statuses() <= {"ok", "skipped"}
    assert made.json("plan").exit_code == 0


def test_another_lab_there_uploads_nothing(
    lab: RunningLab, older: SecondHypervisor, tmp_path_factory: pytest.TempPathFactory
) -> None:
    text = LAB.format(name="e2e-far-too", uri=older.uri("root"), net="10.196")
    other = lab_on(older, tmp_path_factory.mktemp("other"), text)
    before = older.inside("ls -i /var/lib/labrun/pool-images")
    try:
        up = other.json("up", "--no-wait", "--hosts", "desk")
        assert up.exit_code == 0, up.bad()
        assert [row["status"] for row in up.of("image")] == ["ok"]
        assert older.inside("ls -i /var/lib/labrun/pool-images") == before
    finally:
        down = other.run("-y", "down")
    assert down.exit_code == 0, down.stderr
    assert "e2e-far-too" not in older.leftovers()
