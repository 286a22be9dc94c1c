"""Full segments between real guests: what gets through, what is lost on a bridge, and how verify names it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from labrun.inventory.file.load import load_lab
from labrun.inventory.topology.segments import segment_trial
from labrun.outcome import Outcome, Status
from labrun.ports import Completed
from labrun.tasks.collect.capture import read_capture
from labrun.tasks.collect.collect_spec import CollectSpec
from labrun.tasks.collect.script import collect_script
from labrun.tasks.collect.segment_rows import segment_rows
from labrun.tasks.collect.segments import segment_specs
from labrun.tasks.collect.task import raw_capture
from tests.e2e.conftest import running_lab
from tests.further_hypervisor import in_first
from tests.labs import RunningLab
from tests.planted_loss import bridge_port_of, large_tcp_lost, small_port

LXC = "lxc:///system"
LAB = f"""\
name: e2e-segments
hypervisor: {LXC}
networks: {{lan: {{mode: isolated, cidr: 10.192.1.0/24}}}}
hosts:
  one: {{networks: {{lan: 10.192.1.11}}}}
  two: {{networks: {{lan: 10.192.1.12}}}}
"""


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    yield from running_lab(tmp_path_factory.mktemp("segments"), LAB)


def sent(lab: RunningLab) -> Outcome:
    """Send from one to two as verify does between hypervisors, and return the row."""
    loaded = load_lab(lab.path)
    trial = segment_trial(loaded, "lan", "one", "two")
    assert trial is not None
    spec = CollectSpec(segments=segment_specs([trial], "one"))
    script = collect_script(spec, "MARK")
    answer = lab.run("ssh", "one", "sudo sh -s", stdin=script)
    assert answer.exit_code == 0, answer.stderr
    capture = read_capture(raw_capture(spec, "MARK", Completed(0, answer.stdout, answer.stderr, 1.0)))
    (row,) = segment_rows(loaded, {"one": capture}, [trial])
    return row


def test_tcp_that_is_lost_beside_full_pings_is_named(lab: RunningLab) -> None:
    assert sent(lab).status is Status.OK
    with large_tcp_lost(in_first):
        row = sent(lab)
    assert (row.status, row.actual) == (Status.FAILED, "TCP is lost")
    assert row.why is not None
    assert row.why.startswith(
        "one: pings of 1500 bytes get to two, and TCP does not: the checksum offload between one and two"
    )
    assert sent(lab).status is Status.OK


@pytest.mark.full
def test_an_mtu_that_is_too_small_on_the_way_is_measured(lab: RunningLab) -> None:
    with small_port(in_first, bridge_port_of(in_first, LXC, "e2e-segments-two"), 1300):
        row = sent(lab)
    # A bridge lets a VLAN tag more through than the port's MTU.
    assert (row.status, row.actual) == (Status.FAILED, "1304 bytes"), row
    what = "the MTU between one and two is too small for lan: 1304 of 1500 bytes get through"
    assert row.why == what
    assert sent(lab).status is Status.OK


@pytest.mark.full
def test_nobody_who_listens_is_no_failure(lab: RunningLab) -> None:
    lab.guest("two", "nft add table ip t; nft add chain ip t i '{ type filter hook input priority 0; }'")
    lab.guest("two", "nft add rule ip t i ip saddr 10.192.1.11 tcp dport 22 reject with tcp reset")
    try:
        row = sent(lab)
    finally:
        lab.guest("two", "nft delete table ip t")
    assert (row.status, row.why) == (
        Status.SKIPPED,
        "nothing listens on tcp/22 on two: full segments were not tried",
    )
