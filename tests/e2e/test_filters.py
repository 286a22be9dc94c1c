"""Filters on real containers: what is denied is denied, at once, and nobody else's filter is touched."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from labrun.hypervisor import daemon_pid
from tests.e2e.conftest import configured_lab
from tests.labs import RunningLab
from tests.leftovers import note

pytestmark = pytest.mark.lxc

URI = "lxc:///system"
LAB = """\
name: nft-e2e-filt
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 256}
networks:
  lan: {mode: isolated, cidr: 10.61.90.0/24, cidr6: "fd00:61:90::/64"}
hosts:
  a: {networks: {lan: {ipv4: 10.61.90.10, ipv6: "fd00:61:90::10", filter: quiet}}}
  b: {networks: {lan: {ipv4: 10.61.90.11, ipv6: "fd00:61:90::11"}}}
filters:
  quiet: [{deny: out, proto: tcp, port: 80}, {deny: in, proto: tcp, port: 23}]
  spare: [{deny: inout}, {deny: in, proto: arp}, {deny: out, proto: ipv4}, {deny: out, proto: icmpv6}]
"""


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    with configured_lab(tmp_path_factory.mktemp("filters"), LAB) as made:
        yield made


def virsh(*words: str) -> str:
    done = subprocess.run(["virsh", "-c", URI, *words], capture_output=True, text=True, check=True)
    return done.stdout


def dial(lab: RunningLab, source: str, address: str, port: int) -> str:
    said = lab.guest(source, f"nc -nzv -w 2 {address} {port} 2>&1 || :", sudo=False)
    return "refused" if "refused" in said else "filtered" if "timed out" in said else said


def other(lab: RunningLab, *pairs: tuple[str, str]) -> RunningLab:
    """Return the lab with some of its file replaced."""
    text = LAB
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    path = lab.path.with_name("other.yaml")
    path.write_text(text, encoding="utf-8")
    return RunningLab(path, lab.state)


def test_what_is_denied_does_not_get_through_and_all_else_does(lab: RunningLab) -> None:
    assert dial(lab, "a", "10.61.90.11", 80) == "filtered"
    assert dial(lab, "a", "fd00:61:90::11", 80) == "filtered"
    assert dial(lab, "a", "10.61.90.11", 81) == "refused"
    assert dial(lab, "b", "10.61.90.10", 80) == "refused"
    assert dial(lab, "b", "10.61.90.10", 23) == "filtered"
    found = lab.json("verify")
    assert (found.exit_code, found.statuses()) == (0, {"ok"}), found.trouble()
    assert {row["name"] for row in found.of("check")} >= {"a -> b tcp/80", "b -> a tcp/23 (IPv6)"}
    # Everybody's bridges stay as they are: frames are filtered, not bridged packets by iptables.
    inside = ["nsenter", f"--net=/proc/{daemon_pid(URI)}/ns/net", "cat"]
    switch = "/proc/sys/net/bridge/bridge-nf-call-iptables"
    if Path(switch).exists():
        assert subprocess.run([*inside, switch], capture_output=True, check=True).stdout == b"0\n"


def test_a_second_run_changes_nothing(lab: RunningLab) -> None:
    again = lab.json("up")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()
    planned = lab.json("plan")
    assert (planned.exit_code, planned.statuses()) == (0, {"ok"}), planned.trouble()


@pytest.mark.full
def test_rules_and_nics_change_while_the_machine_runs(lab: RunningLab) -> None:
    moved = other(lab, ("port: 80}", "port: 81}"))
    planned = moved.json("plan")
    (row,) = planned.of("filter", name="quiet")
    assert (planned.exit_code, row["status"]) == (3, "would-change")
    assert "-drop out ip tcp 80\n" in row["diff"]
    up = moved.json("up")
    assert up.exit_code == 0, up.trouble()
    assert [row["name"] for row in up.rows if row["status"] == "changed"] == ["quiet"]
    assert dial(lab, "a", "10.61.90.11", 80) == "refused"
    assert dial(lab, "a", "10.61.90.11", 81) == "filtered"
    without = other(lab, (", filter: quiet", ""))
    up = without.json("up")
    assert up.exit_code == 0, up.trouble()
    assert dial(lab, "a", "10.61.90.11", 80) == "refused"
    back = lab.json("up")
    assert back.exit_code == 0, back.trouble()
    assert dial(lab, "a", "10.61.90.11", 80) == "filtered"


@pytest.mark.full
def test_a_filter_changed_by_hand_is_put_right(lab: RunningLab, tmp_path: Path) -> None:
    xml = virsh("nwfilter-dumpxml", "nft-e2e-filt-quiet").replace("dstportstart='80'", "dstportstart='8080'")
    (tmp_path / "filter.xml").write_text(xml, encoding="utf-8")
    virsh("nwfilter-define", str(tmp_path / "filter.xml"))
    assert dial(lab, "a", "10.61.90.11", 80) == "refused"
    drifted = lab.json("drift").of("filter", name="quiet")
    assert [(row["status"], row["actual"]) for row in drifted] == [("drifted", "other rules")]
    fixed = lab.json("-y", "drift", "--fix")
    assert [row["status"] for row in fixed.of("filter", name="quiet")] == ["changed"], fixed.stderr
    assert dial(lab, "a", "10.61.90.11", 80) == "filtered"


def test_only_the_lab_s_own_filters_are_changed_and_removed(lab: RunningLab, tmp_path: Path) -> None:
    (tmp_path / "mine.xml").write_text("<filter name='nft-e2e-filt-mine' chain='root'/>", encoding="utf-8")
    note("nft-e2e-filt-mine")
    virsh("nwfilter-define", str(tmp_path / "mine.xml"))
    try:
        answer = other(lab, ("  spare:", "  mine: [{deny: in}]\n  spare:")).json("up")
        (row,) = answer.of("filter", name="mine")
        assert (row["status"], row["why"].partition(" (")[0]) == (
            "failed",
            "the filter nft-e2e-filt-mine exists and is not this lab's",
        )
        fewer = other(lab, ("  spare:", "  # spare:"))
        left = fewer.json("plan").of("filter", name="spare")
        assert [row["status"] for row in left] == ["skipped"]
        pruned = fewer.json("-y", "up", "--prune")
        assert pruned.exit_code == 0, pruned.trouble()
        assert "nft-e2e-filt-spare" not in virsh("nwfilter-list")
        assert lab.json("-y", "down").exit_code == 0
        assert [
            line.split()[-1] for line in virsh("nwfilter-list").splitlines() if "nft-e2e-filt" in line
        ] == ["nft-e2e-filt-mine"]
    finally:
        virsh("nwfilter-undefine", "nft-e2e-filt-mine")
