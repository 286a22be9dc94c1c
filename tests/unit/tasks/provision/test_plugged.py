"""Ports of networks: whose they are."""

from __future__ import annotations

from labrun.tasks.provision.plugged import port_owner


def test_the_owner_of_a_port() -> None:
    xml = (
        "<networkport><uuid>1</uuid><owner><name>other-guest</name><uuid>2</uuid></owner>"
        "<mac address='52:54:00:10:20:01'/></networkport>"
    )
    assert port_owner(xml) == ("2", "other-guest")
