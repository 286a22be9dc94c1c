"""The NICs of a saved VM are put where its definition has them, or held if it has them no more."""

from __future__ import annotations

import xml.etree.ElementTree as ET

from labrun.tasks.provision.domains import nics_of
from labrun.tasks.provision.saved_state import moved

_NIC = (
    '<interface type="network"><mac address="{mac}"/><source network="{network}"{live}/>'
    '<target dev="{device}"/><model type="{model}"/><link state="up"/></interface>'
)
ONE, TWO = "02:00:00:00:00:01", "02:00:00:00:00:02"


def domain(*nics: tuple[str, str], live: bool = False, model: str = "virtio") -> str:
    """Return a domain with NICs of these MACs and networks."""
    port = ' portid="1" bridge="virbr1"' if live else ""
    found = [
        _NIC.format(mac=mac, network=network, live=port, device=f"lr{mac.replace(':', '')}", model=model)
        for mac, network in nics
    ]
    return f"<domain><devices>{''.join(found)}</devices></domain>"


def test_what_is_where_it_was_stays_as_it_is() -> None:
    assert moved(domain((ONE, "a"), live=True), domain((ONE, "a")), {"a"}) is None
    # It is unplugged when the machine has gone on, from a network that runs.
    assert moved(domain((ONE, "a"), (TWO, "b"), live=True), domain((ONE, "a")), {"a", "b"}) is None
    # Nothing could hold it: libvirt says what is missing.
    assert moved(domain((ONE, "a"), live=True), domain(), set()) is None


def test_a_nic_follows_its_definition() -> None:
    done = moved(domain((ONE, "a"), (TWO, "a"), live=True), domain((ONE, "b"), (TWO, "a")), {"a", "b"})
    assert done is not None
    assert [(nic.mac, nic.source) for nic in nics_of(done)] == [(ONE, "b"), (TWO, "a")]
    source = ET.fromstring(done).findall("./devices/interface/source")
    assert source[0].attrib == {"network": "b"}
    assert source[1].get("portid") == "1"


def test_a_nic_that_is_gone_with_its_network_is_held_with_its_link_down() -> None:
    for defined in (domain((TWO, "b")), domain((ONE, "b"), model="e1000e")):
        done = moved(domain((ONE, "a"), live=True), defined, {"b"})
        assert done is not None
        (nic,) = ET.fromstring(done).findall("./devices/interface")
        assert nics_of(done)[0].source == "b"
        assert [link.get("state") for link in nic.findall("link")] == ["down"]
        # The device of that name is the other NIC's.
        assert nic.find("target") is None
