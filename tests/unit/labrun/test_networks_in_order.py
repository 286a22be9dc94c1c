"""libvirt lists networks in another order after each of its starts; labrun's rows have one order."""

from __future__ import annotations

import libvirt

from labrun.hypervisor import networks_of

NAMES = [f"order-{letter}" for letter in "hbgdafce"]


def test_networks_come_by_name() -> None:
    connection = libvirt.open("test:///default")
    try:
        made = [
            connection.networkCreateXML(
                f"<network><name>{name}</name><ip address='10.9.{each}.1'/></network>"
            )
            for each, name in enumerate(NAMES)
        ]
        seen = [network.name() for network, _ in networks_of(connection)]
        for network in made:
            network.destroy()
    finally:
        connection.close()
    assert [name for name in seen if name in NAMES] == sorted(NAMES)
