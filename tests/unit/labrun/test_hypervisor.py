"""Networks of other labs come and go while labrun looks at them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import libvirt
import pytest

from labrun.hypervisor import connect, networks_of

GONE = "<network><name>gone</name><ip address='10.19.90.1' prefix='24'/></network>"
STAYS = "<network><name>stays</name><ip address='10.19.91.1' prefix='24'/></network>"


@pytest.fixture
def handle() -> Iterator[Any]:
    handle = connect("test:///default")
    yield handle
    for network in handle.listAllNetworks():
        if network.name() in ("gone", "stays"):
            network.undefine()


def test_a_network_that_goes_away_while_others_are_read_is_passed_over(handle: Any) -> None:
    gone = handle.networkDefineXML(GONE)
    handle.networkDefineXML(STAYS)

    def xml(network: Any) -> str:
        if network.name() == "gone":
            gone.undefine()
        return str(network.XMLDesc(0))

    names = {network.name() for network, _ in networks_of(handle, xml)}
    assert "stays" in names
    assert "gone" not in names


def test_any_other_refusal_is_not_swallowed(handle: Any) -> None:
    handle.networkDefineXML(STAYS)
    with pytest.raises(libvirt.libvirtError):
        list(networks_of(handle, lambda network: str(network.XMLDesc(1 << 20))))
