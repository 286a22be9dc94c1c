"""Where a lab lives, on the real libvirtd of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import libvirt
import pytest

from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from labrun.tasks.provision.hypervisor_choice import choose_hypervisor, lab_uris
from labrun.tasks.provision.kvm_probe import kvm_verdict
from labrun.tasks.provision.networks import network_spec
from tests.leftovers import note

TEXT = """\
name: choose-test
networks: {quiet: {mode: very-isolated, cidr: 10.223.0.0/24}}
hosts: {one: {networks: {quiet: 10.223.0.11}}}
"""


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    path = tmp_path / "lab.yaml"
    path.write_text(TEXT, encoding="utf-8")
    return load_lab(path)


@pytest.fixture
def connection() -> Iterator[libvirt.virConnect]:
    note("choose-test")
    handle = libvirt.open("qemu:///system")
    yield handle
    for network in handle.listAllNetworks():
        if network.name() == "choose-test-quiet":
            network.undefine()
    handle.close()


def test_a_new_lab_gets_what_works_here(lab: Lab, connection: libvirt.virConnect) -> None:
    verdict = kvm_verdict(connection, "qemu:///system")
    choice = choose_hypervisor(lab)
    if verdict.usable:
        assert (choice.uri, choice.why) == ("qemu:///system", "KVM works here")
    else:
        assert choice.uri == "lxc:///system"
        assert choice.why == f"KVM does not work here: {verdict.why}; containers need none"


def test_the_file_has_the_last_word(lab: Lab) -> None:
    named = replace(lab, hypervisor="qemu:///system")
    assert choose_hypervisor(named).uri == "qemu:///system"
    assert choose_hypervisor(named).why == "set in the lab file"


def test_a_lab_stays_where_its_tag_is(lab: Lab, connection: libvirt.virConnect) -> None:
    assert lab_uris("choose-test") == ()
    spec = network_spec(lab, lab.networks["quiet"], "qemu:///system")
    connection.networkDefineXML(spec.xml)
    assert lab_uris("choose-test") == ("qemu:///system",)
    choice = choose_hypervisor(lab)
    assert (choice.uri, choice.why) == ("qemu:///system", "the lab is already there")
