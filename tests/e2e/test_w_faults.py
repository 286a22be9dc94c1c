"""A lab that is broken in every way of the catalogue: verify names it, mend leaves nothing behind."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from labrun.inventory.file.load import load_lab
from labrun.tasks.faults.catalogue import FAULTS, choose, possible
from tests.labs import Answer, RunningLab

from .conftest import write_lab

LAB = """\
name: w4-r-faults
hypervisor: lxc:///system
networks:
  network1: {mode: isolated, cidr: 10.203.8.0/24, cidr6: "fd00:203:8::/64"}
  network2: {mode: isolated, cidr: 10.204.8.0/24, cidr6: "fd00:204:8::/64"}
hosts:
  host00:
    role: router
    networks:
      network1: {ipv4: 10.203.8.254, ipv6: "fd00:203:8::fe"}
      network2: {ipv4: 10.204.8.254, ipv6: "fd00:204:8::fe"}
  host01: {networks: {network1: {ipv4: 10.203.8.11, ipv6: "fd00:203:8::11"}}}
  host02: {networks: {network1: {ipv4: 10.203.8.12, ipv6: "fd00:203:8::12"}}}
  host03: {networks: {network2: {ipv4: 10.204.8.11, ipv6: "fd00:204:8::11"}}}
  host04: {networks: {network2: dhcp}}
"""
SEED = 1
QUICK = (
    *("forwarding-off", "neighbour-wrong", "forward-drops", "sshd-stopped", "address-missing-v6"),
    *("target-rejects", "masquerade-v6"),
)
# What a host may have besides, and be well: devices of its own with a NIC's MAC, a daemon's routes.
BESIDE = """\
ip link add br-own type bridge
ip link set br-own address $(cat /sys/class/net/eth0/address)
ip addr add 192.168.77.1/24 dev br-own; ip link set br-own up
ip link add link eth0 over type macvlan mode bridge
# An address from the router's advertisements would be a second way into the network.
sysctl -qw net.ipv6.conf.over.accept_ra=0
ip addr add 192.168.78.1/24 dev over; ip link set over up
ip route add 172.30.0.0/16 via 10.203.8.12 proto bird; ip -6 route add fd77::/64 via fd00:203:8::12 proto bird
ip route add blackhole 10.88.0.0/16
"""
WITHOUT = """\
ip link del br-own; ip link del over; ip route del 172.30.0.0/16; ip -6 route del fd77::/64
ip route del blackhole 10.88.0.0/16
"""
# By other commands than the ones that mend uses to compare.
STATE = r"""
ip -details -oneline link show | sed "s/ gso_.*//"
ip -json address show | sed "s/_life_time.:[0-9]*//g; s/.tentative.:true,//"
ip route show table main; ip -6 route show table main; ip rule; ip -6 rule
ip neigh show nud permanent; nft -s list ruleset
grep -r . /proc/sys/net/ipv4/conf /proc/sys/net/ipv6/conf /proc/sys/net/ipv4/ip_forward \
/proc/sys/net/ipv4/ip_default_ttl /proc/sys/net/ipv4/icmp_echo_ignore_all
cat /etc/NetworkManager/system-connections/* /etc/ssh/sshd_config.d/*
nmcli -t -f NAME,DEVICE,STATE connection show --active
ls -A /var/lib/labrun 2>/dev/null
systemctl is-active ssh
"""


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    made = write_lab(tmp_path_factory.mktemp("faults"), LAB)
    try:
        up = made.json("up", "--configure")
        assert up.exit_code == 0, up.bad() or up.stderr
        for host in load_lab(made.path).hosts:
            # Planting makes the directory and leaves it: made here, all hosts can be compared.
            made.guest(host, "mkdir -p -m 755 /var/lib/labrun")
        yield made
    finally:
        made.run("-y", "down")


def state(lab: RunningLab, host: str) -> str:
    answer = lab.run("ssh", host, "sudo sh", stdin=STATE)
    assert "fe80" in answer.stdout, answer.stderr
    return answer.stdout


def healthy(lab: RunningLab) -> None:
    answer = lab.json("verify")
    assert answer.exit_code == 0, answer.bad()


def named(answer: Answer, text: str) -> list[str]:
    """Return the failing rows that say so in ``why`` or, for a setting, by their name."""
    return [row["name"] for row in answer.bad() if text in (row["why"] or "") or text == row["name"]]


@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.full) for name in FAULTS]
)
def test_a_planted_fault_is_named_and_then_gone(lab: RunningLab, name: str) -> None:
    fault, spot = choose(possible(load_lab(lab.path), name), SEED)
    host = fault.host(spot)
    before = state(lab, host)
    planted = lab.run("break", name, "--seed", str(SEED))
    try:
        assert planted.exit_code == 0, planted.stderr
        assert host not in planted.stdout
        assert len({planted.stderr.count(each) for each in load_lab(lab.path).hosts}) == 1, "all hosts alike"
        assert name not in planted.stdout + planted.stderr
        answer = lab.json("verify")
        assert named(answer, fault.filled_in(fault.named, spot)), answer.bad()
    finally:
        mended = lab.json("mend")
    assert [(row["host"], row["name"], row["status"]) for row in mended.rows] == [(host, name, "changed")]
    assert state(lab, host) == before
    healthy(lab)


def test_one_fault_at_a_time_hints_in_steps_and_a_second_mend_changes_nothing(lab: RunningLab) -> None:
    nothing = lab.json("verify", "--hint")
    assert (nothing.exit_code, nothing.document["error"]) == (
        1,
        "no fault is planted: there is nothing to hint at",
    )
    assert lab.run("break", "route-missing", "--seed", "3").exit_code == 0
    try:
        second = lab.json("break")
        assert second.document["error"] == "a fault is planted in this lab already"
        (state,) = lab.state.glob("*-*")
        (state / "fault").rename(lab.path.parent / "kept")
        without_state = lab.json("break")
        assert without_state.document["error"] == "a fault is planted in this lab already"
        (lab.path.parent / "kept").rename(state / "fault")
        counts = []
        for _ in range(2):
            hinted = lab.json("verify", "--hint", "--hosts", "host01")
            counts.append(len(hinted.document["hints"]))
            assert {row["section"] for row in hinted.rows} <= {"path"}
            assert {row["why"] for row in hinted.rows} <= {None}
        assert counts == [1, 2]
    finally:
        mended = lab.json("mend")
    assert mended.exit_code == 0, mended.bad()
    again = lab.json("mend")
    assert (again.exit_code, again.rows) == (0, [])
    assert lab.run("mend").stdout == "Nothing is planted in this lab.\n"
    healthy(lab)


def test_what_is_put_right_by_hand_stays_right(lab: RunningLab) -> None:
    assert lab.run("break", "forwarding-off").exit_code == 0
    lab.guest("host00", "sysctl -qw net.ipv4.ip_forward=1")
    mended = lab.json("mend")
    assert [row["status"] for row in mended.rows] == ["changed"], mended.rows
    healthy(lab)


@pytest.mark.full
def test_an_address_that_two_hosts_have_on_one_network(lab: RunningLab) -> None:
    lab.guest("host02", "ip address add 10.203.8.11/24 dev eth0; ip neigh flush all")
    try:
        answer = lab.json("verify", "--hosts", "host02")
        row = answer.of("address", "host02")[0]
        assert row["why"] == "one too many: 10.203.8.11/24, which is host01's"
    finally:
        lab.guest("host02", "ip address del 10.203.8.11/24 dev eth0")
        for host in ("host00", "host01"):
            lab.guest(host, "ip neigh flush all")
    healthy(lab)


def by_hand(lab: RunningLab, script: str) -> None:
    answer = lab.run("ssh", "host01", "sudo sh -e", stdin=script)
    assert answer.exit_code == 0, answer.stderr


def test_what_a_host_has_besides_fails_nothing_once_the_file_leaves_it_alone(lab: RunningLab) -> None:
    left = lab.path.with_name("left.yaml")
    ignored = "routes: {ignore: [proto bird, type blackhole to 10.88.0.0/16]}\nhosts:\n"
    left.write_text(LAB.replace("hosts:\n", ignored), encoding="utf-8")
    by_hand(lab, BESIDE)
    try:
        answer = lab.json("drift", "--fix", "--hosts", "host01")
        removals = {row["name"]: row["why"] for row in answer.bad()}
        assert set(removals) == {"172.30.0.0/16", "fd77::/64", "10.88.0.0/16"}, answer.bad()
        assert "`ip route del blackhole 10.88.0.0/16` removes it" in removals["10.88.0.0/16"]
        assert "routes: {ignore: [proto bird]}" in removals["172.30.0.0/16"]
        for verb in ("verify", "drift"):
            answer = RunningLab(left, lab.state).json(verb)
            assert answer.exit_code == 0, (verb, [str(row) for row in answer.bad()])
    finally:
        by_hand(lab, WITHOUT)
    healthy(lab)


@pytest.mark.parametrize("runs", [3, pytest.param(20, marks=pytest.mark.full)])
def test_a_healthy_lab_has_no_failing_row(lab: RunningLab, runs: int) -> None:
    for _ in range(runs):
        healthy(lab)
