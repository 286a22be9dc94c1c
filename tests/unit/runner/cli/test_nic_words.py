"""Which NICs `HOST:NIC` means, and where a packet filter begins."""

from __future__ import annotations

import pytest

from labrun.errors import UsageError
from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from labrun.runner.cli.nic_words import leading_nics, named_nics
from labrun.tasks.provision.nic_ends import nic_ends
from tests.unit.twin_lab import twins

LAB = """\
name: words
networks: {left: {cidr: 10.1.0.0/24}, right: {cidr: 10.2.0.0/24}}
hosts:
  gate: {role: router, networks: {left: 10.1.0.254, right: 10.2.0.254}}
  web: {networks: {left: 10.1.0.11}}
  tcp: {networks: {left: 10.1.0.12}}
  old: {address: 10.1.0.13, networks: {left: 10.1.0.13}}
"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    path = tmp_path_factory.mktemp("words") / "lab.yaml"
    path.write_text(LAB)
    return load_lab(path)


GATE = [("gate", "left"), ("gate", "right")]
READ = {
    "gate": (GATE, []),
    "gate gate:left": (GATE, []),
    "gate:right web icmp": ([("gate", "right"), ("web", "left")], ["icmp"]),
    # A host that is called as a filter begins: the first word is always a host, later ones need a network.
    "tcp": ([("tcp", "left")], []),
    "web tcp port 80": ([("web", "left")], ["tcp", "port", "80"]),
    "web tcp:left port 80": ([("web", "left"), ("tcp", "left")], ["port", "80"]),
    "web ether host 02:00:00:00:00:01": ([("web", "left")], ["ether", "host", "02:00:00:00:00:01"]),
}


@pytest.mark.parametrize("words", READ)
def test_nics_and_the_filter_after_them(lab: Lab, words: str) -> None:
    nics, rest = leading_nics(lab, words.split())
    assert (list(nics), list(rest)) == READ[words]


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ("wbe", 'wbe: unknown host "wbe" (did you mean "web"?)'),
        ("web wbe:left icmp", 'wbe:left: unknown host "wbe" (did you mean "web"?)'),
        ("web:right", 'web:right: web has no NIC on "right" (it is on left)'),
        ("icmp", 'icmp: unknown host "icmp" (the lab has gate, web, tcp, old)'),
    ],
)
def test_unknown_ones(lab: Lab, words: str, says: str) -> None:
    with pytest.raises(UsageError) as caught:
        leading_nics(lab, words.split())
    assert str(caught.value) == says


def test_an_existing_machine_has_none_here(lab: Lab) -> None:
    uri = "qemu+ssh://lab@far.test/system"
    with pytest.raises(UsageError) as caught:
        nic_ends(lab, uri, [("old", "left")], does="tc")
    assert str(caught.value) == (
        "old: an existing machine has no NIC on this hypervisor (`labrun ssh old`, and do it there)"
    )


def test_a_nic_on_the_same_network_as_another_is_named_by_its_own_name() -> None:
    of = twins()
    assert named_nics(of, "h") == (("h", "left"), ("h", "left2"), ("h", "left3"))
    assert named_nics(of, "h:left2") == (("h", "left2"),)
    with pytest.raises(UsageError) as caught:
        named_nics(of, "h:right")
    assert str(caught.value) == 'h:right: h has no NIC on "right" (it is on left, left2, left3)'
    assert caught.value.exit_code == 2
