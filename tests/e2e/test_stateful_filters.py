"""Filters with allow, reject and log, and addresses that guests may not take, on real containers."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator

import pytest

from labrun.hypervisor import daemon_pid
from tests.e2e.conftest import configured_lab
from tests.labs import RunningLab

pytestmark = pytest.mark.lxc

URI = "lxc:///system"
LAB = """\
name: nft-e2e-state
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 256}
networks:
  lan: {mode: isolated, cidr: 10.61.92.0/24, cidr6: "fd00:61:92::/64"}
  far: {mode: isolated, cidr: 10.61.93.0/24}
hosts:
  a: {networks: {lan: {ipv4: 10.61.92.10, ipv6: "fd00:61:92::10"}}}
  b: {networks: {lan: {ipv4: 10.61.92.11, ipv6: "fd00:61:92::11", filter: web}}}
  c: {networks: {lan: {ipv4: dhcp, ipv6: "fd00:61:92::12", spoofing: allow}}}
  gate: {role: router, networks: {lan: {ipv4: 10.61.92.20, filter: plain}, far: 10.61.93.20}}
  d: {networks: {far: 10.61.93.11}}
filters:
  web:
    - {allow: in, proto: tcp, port: [22, 80, 8000-8010]}
    - {reject: in, proto: tcp, port: 81}
    - {reject: out, proto: tcp, port: 79, to: a, log: true}
    - {deny: in, log: true}
  plain: [{deny: in, proto: tcp, port: [90, 100-110], from: a}]
"""


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    with configured_lab(tmp_path_factory.mktemp("state"), LAB) as made:
        yield made


def inside(*words: str) -> str:
    """Run a command beside libvirtd, where the bridges are."""
    place = ["nsenter", f"--net=/proc/{daemon_pid(URI)}/ns/net"]
    return subprocess.run([*place, *words], capture_output=True, text=True, check=True).stdout


def virsh(*words: str) -> str:
    done = subprocess.run(["virsh", "-c", URI, *words], capture_output=True, text=True, check=True)
    return done.stdout


def dial(lab: RunningLab, source: str, address: str, port: int) -> str:
    said = lab.guest(source, f"nc -nzv -w 2 {address} {port} 2>&1 || :", sudo=False)
    return next((word for word in ("refused", "open", "succeeded") if word in said), "filtered")


def test_each_rule_holds_from_inside_and_verify_says_so(lab: RunningLab) -> None:
    for address in ("10.61.92.11", "fd00:61:92::11"):
        assert dial(lab, "a", address, 8005) == "refused"
        assert dial(lab, "a", address, 81) == "refused"
        assert dial(lab, "a", address, 9000) == "filtered"
        # What it asks itself is answered, though everything in is denied.
        other = address.replace("11", "10")
        assert (
            lab.guest("b", f"ping -c 1 -W 2 {other} >/dev/null && echo answered", sudo=False) == "answered\n"
        )
        assert dial(lab, "b", other, 79) == "refused"
    assert (dial(lab, "a", "10.61.92.20", 105), dial(lab, "c", "10.61.92.20", 105)) == ("filtered", "refused")
    found = lab.json("verify")
    assert (found.exit_code, found.statuses()) == (0, {"ok"}), found.trouble()
    names = {row["name"] for row in found.of("check")}
    assert names >= {"a -> b tcp/8000", "a -> b tcp/81 (IPv6)", "b -> a tcp/79", "a -> gate tcp/100"}
    counted = {row["name"]: row["actual"] for row in found.of("filter")}
    assert counted["web: deny in all"].endswith("packets refused")


def test_the_hypervisor_is_told_as_well(lab: RunningLab) -> None:
    script = 'for p in 22 81; do timeout 5 bash -c "</dev/tcp/10.61.92.11/$p" 2>/dev/null; echo $?; done'
    # An open port, and one whose refusal comes at once: a drop would be ended by timeout, which says 124.
    assert inside("bash", "-c", script) == "0\n1\n"


@pytest.mark.full
def test_log_shows_what_was_refused(lab: RunningLab) -> None:
    dial(lab, "a", "10.61.92.11", 9001)
    said = lab.json("log", "b")
    assert said.exit_code == 0
    found = [each for each in said.document["refused"] if each["port"] == 9001]
    assert [(each["from"], each["to"], each["proto"], each["rule"], each["network"]) for each in found] == [
        ("10.61.92.10", "10.61.92.11", "tcp", "deny in all", "lan")
    ]
    assert found[0]["packets"] >= 1
    assert "9001" in lab.run("log", "b").stdout
    assert lab.run("log", "a").stdout == (
        "a: nothing is logged: no filter of its NICs has a rule with log: true\n"
    )
    assert lab.run("log", "nobody").exit_code == 2


def test_nobody_takes_an_address_of_another(lab: RunningLab) -> None:
    take = "ip address add {0}/{1} dev eth0; ping -c 2 -W 1 -I {0} {2} >/dev/null 2>&1 && echo got; "
    take += "ip address del {0}/{1} dev eth0; :"
    # a takes the addresses of b, and one that the file gives to nobody.
    assert lab.guest("a", take.format("10.61.92.11", 32, "10.61.92.20")) == ""
    assert lab.guest("a", take.format("fd00:61:92::11", 128, "fd00:61:92::12")) == ""
    assert lab.guest("a", take.format("10.61.92.99", 24, "10.61.92.20")) == "got\n"
    # c may, by its file.
    assert lab.guest("c", take.format("10.61.92.77", 24, "10.61.92.20")) == "got\n"
    # The router forwards what has the addresses of others, and its own answers come from it.
    assert (
        lab.guest("d", "ping -c 1 -W 2 10.61.92.10 >/dev/null && echo answered", sudo=False) == "answered\n"
    )


def test_a_second_run_changes_nothing_and_what_is_lost_is_seen_and_mended(lab: RunningLab) -> None:
    again = lab.json("up")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()
    inside("nft", "delete", "table", "bridge", "labrun/nft-e2e-state/filter/web")
    inside("nft", "flush", "chain", "bridge", "labrun/nft-e2e-state/spoofing", "prerouting")
    assert dial(lab, "a", "10.61.92.11", 9000) == "refused"
    planned = lab.json("plan")
    changes = {row["name"]: row["actual"] for row in planned.rows if row["status"] != "ok"}
    assert (planned.exit_code, changes) == (
        3,
        {"web": "would be changed in place", "declared addresses": "would be changed in place"},
    )
    drifted = lab.json("drift")
    assert {row["name"] for row in drifted.of("filter") if row["status"] == "drifted"} == set(changes)
    up = lab.json("up")
    assert [row["name"] for row in up.rows if row["status"] == "changed"] == ["web", "declared addresses"]
    assert dial(lab, "a", "10.61.92.11", 9000) == "filtered"


@pytest.mark.full
def test_a_filter_of_libvirt_becomes_a_table_and_back(lab: RunningLab) -> None:
    path = lab.path.with_name("other.yaml")
    text = lab.path.read_text(encoding="utf-8")
    path.write_text(text.replace("plain: [{deny: in", "plain: [{reject: in"), encoding="utf-8")
    other = RunningLab(path, lab.state)
    (row,) = other.json("plan").of("filter", name="plain")
    assert "+reject in tcp/90,100-110 from a" in row["diff"]
    up = other.json("up")
    assert up.exit_code == 0, up.trouble()
    assert dial(lab, "a", "10.61.92.20", 105) == "refused"
    assert "nft-e2e-state-plain" not in virsh("nwfilter-list")
    assert other.json("up").statuses() == {"ok"}
    back = lab.json("up")
    assert back.exit_code == 0, back.trouble()
    assert dial(lab, "a", "10.61.92.20", 105) == "filtered"
    assert "filter/plain" not in inside("nft", "list", "tables")
    assert lab.json("up").statuses() == {"ok"}


def test_down_takes_the_tables_away_and_leaves_those_of_others(lab: RunningLab) -> None:
    inside("nft", "add", "table", "bridge", "mine")
    try:
        assert lab.json("-y", "down").exit_code == 0
        tables = inside("nft", "list", "tables")
        assert "labrun/nft-e2e-state/" not in tables
        assert "table bridge mine" in tables
    finally:
        inside("nft", "delete", "table", "bridge", "mine")
