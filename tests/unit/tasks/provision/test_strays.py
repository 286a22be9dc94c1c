"""Copies and renamed objects keep the tag; only name and tag together make a lab's object."""

from __future__ import annotations

import libvirt
import pytest

from labrun.errors import ForeignObjectError, HypervisorError
from labrun.tasks.provision.domains import find_domain
from labrun.tasks.provision.machines import observe_machines
from labrun.tasks.provision.networks import observe_networks, remove_network
from labrun.tasks.provision.strays import refuse_renamed, strays_on

URI = "qemu:///system"
_DOMAIN = """\
<domain type="test"><name>{name}</name><memory>65536</memory><os><type>hvm</type></os>
<metadata><l:lab xmlns:l="urn:labrun:1" name="lab" host="{host}"/></metadata></domain>
"""
_NETWORK = """\
<network><name>{name}</name>
<metadata><l:lab xmlns:l="urn:labrun:1" name="lab" network="{network}"/></metadata></network>
"""


def define(connection: libvirt.virConnect, name: str, host: str) -> None:
    connection.defineXML(_DOMAIN.format(name=name, host=host))


def test_a_copy_is_not_taken_for_the_machine(connection: libvirt.virConnect) -> None:
    define(connection, "lab-v", "v")
    define(connection, "my-golden", "v")
    # This one has the name of another host of the lab.
    define(connection, "lab-w", "v")
    assert {host: seen.full_name for host, seen in observe_machines(connection, "lab", "qemu").items()} == {
        "v": "lab-v"
    }
    with pytest.raises(ForeignObjectError):
        find_domain(connection, "lab-w", "lab")
    assert {
        (each.full_name, each.meant, each.alone) for each in strays_on(connection, URI, "lab", networks=True)
    } == {("my-golden", "lab-v", False), ("lab-w", "lab-v", False)}
    refuse_renamed(connection, URI, "lab", "v")


def test_a_renamed_machine_is_named_with_the_way_back(connection: libvirt.virConnect) -> None:
    define(connection, "kept-v", "v")
    assert observe_machines(connection, "lab", "qemu") == {}
    (stray,) = strays_on(connection, URI, "lab", networks=True)
    assert f"`virsh -c {URI} domrename kept-v lab-v`" in stray.why
    with pytest.raises(HypervisorError, match="kept-v is there"):
        refuse_renamed(connection, URI, "lab", "v")
    # Containers cannot be renamed, so this is a copy whose original is gone.
    (stray,) = strays_on(connection, "lxc:///system", "lab", networks=True)
    assert "domrename" not in stray.why
    assert "`virsh -c lxc:///system undefine kept-v`" in stray.why


def test_a_copy_of_a_network_is_left_alone(connection: libvirt.virConnect) -> None:
    connection.networkDefineXML(_NETWORK.format(name="lab-p", network="p"))
    connection.networkDefineXML(_NETWORK.format(name="lab-q", network="p"))
    assert {name: seen.full_name for name, seen in observe_networks(connection, "lab").items()} == {
        "p": "lab-p"
    }
    (stray,) = strays_on(connection, URI, "lab", networks=True)
    assert (stray.section, stray.full_name, stray.alone) == ("network", "lab-q", False)
    with pytest.raises(ForeignObjectError):
        remove_network(connection, "lab", "lab-q")
    assert remove_network(connection, "lab", "lab-p")
