"""A lab that is broken in every way of the catalogue: verify names it, mend leaves nothing behind."""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator

import pytest

from labrun.inventory.file.load import load_lab
from labrun.tasks.faults.catalogue import FAULTS, choose, possible
from tests.labs import Answer, RunningLab

from .conftest import write_lab
from .planted_causes import CAUSES, Cause, site

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
QUICK = ("forwarding-off", "sshd-stopped", "address-missing-v6")
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
        assert up.exit_code == 0, up.trouble()
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
    assert answer.exit_code == 0, answer.trouble()


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
        assert named(answer, fault.filled_in(fault.named, spot)), answer.trouble()
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
    assert mended.exit_code == 0, mended.trouble()
    again = lab.json("mend")
    assert (again.exit_code, again.rows) == (0, [])
    assert lab.run("mend").stdout == "Nothing is planted in this lab.\n"
    healthy(lab)


@pytest.mark.full
def test_what_is_put_right_by_hand_stays_right(lab: RunningLab) -> None:
    assert lab.run("break", "forwarding-off").exit_code == 0
    lab.guest("host00", "sysctl -qw net.ipv4.ip_forward=1")
    hinted = lab.run("verify", "--hint")
    story = r"Solved: it was forwarding-off on host00 \(\d+ s, no hint\)\.\n"
    assert hinted.exit_code == 0
    assert re.fullmatch(story + "`labrun mend` clears it.\n", hinted.stdout)
    again = lab.json("verify", "--hint")
    assert (again.document["solved"], again.document["hints"]) == ("forwarding-off", [])
    mended = lab.run("mend")
    assert mended.exit_code == 0
    assert re.search(
        rf"host00 +fault forwarding-off +as before +mended by hand +ok\n(.*\n)*{story}", mended.stdout
    )
    assert lab.run("mend").stdout == "Nothing is planted in this lab.\n"
    healthy(lab)


@pytest.mark.full
def test_a_lesson_is_a_series_with_a_score(lab: RunningLab) -> None:
    begun = lab.run("lesson", "start", "--faults", "2", "--level", "easy", "--seed", "3")
    try:
        assert begun.stdout.startswith("Fault 1 of 2 is planted."), begun.stderr
        assert lab.json("lesson", "start").document["error"] == "a lesson is under way in this lab"
        failing = lab.json("lesson", "check")
        assert failing.exit_code == 1
        assert {row["why"] for row in failing.rows} <= {None}
        assert len(lab.json("lesson", "hint").document["hints"]) == 1
        open_score = lab.json("lesson", "score")
        assert open_score.exit_code == 3
        assert [row["status"] for row in open_score.rows] == ["pending", "pending"]
        assert not re.search("|".join(FAULTS), open_score.stdout)
        # By hand, as the hints would have it: with the undo that the fault left in the guest.
        (found,) = [
            host
            for host in load_lab(lab.path).hosts
            if "y" in lab.guest(host, "test ! -e /var/lib/labrun/fault.undo || echo y")
        ]
        lab.guest(found, "base64 -d /var/lib/labrun/fault.undo | sh -e")
        second = lab.run("lesson", "check")
        assert second.exit_code == 0
        assert re.match(
            r"Solved: it was [a-z0-9-]+ on host0\d \(.*, 1 hint\)\. 3 points \(1 hint\)\n", second.stdout
        )
        assert "Fault 2 of 2 is planted." in second.stdout
        skipped = lab.run("lesson", "skip")
        assert re.match(
            r"It was [a-z0-9-]+, on host0\d\. It is undone\. 0 points \(given up\)\n", skipped.stdout
        )
        assert skipped.stdout.endswith("The lesson is over: 3 of 8 points, 1 of 2 faults mended.\n")
        report = lab.path.parent / "score.xml"
        score = lab.run("lesson", "score", "-o", str(report))
        assert score.exit_code == 1
        cases = ET.parse(report).getroot().findall("testsuite/testcase")
        assert sorted(case.find("failure") is not None for case in cases) == [False, True]
    finally:
        stopped = lab.run("lesson", "stop", "-y")
    assert stopped.exit_code == 0
    assert lab.json("lesson", "score").document["error"] == "there is no lesson in this lab"
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


def by_hand(lab: RunningLab, script: str, host: str = "host01") -> None:
    answer = lab.run("ssh", host, "sudo sh -e", stdin=script)
    assert answer.exit_code == 0, answer.stderr


@pytest.mark.full
def test_what_a_host_has_besides_fails_nothing_once_the_file_leaves_it_alone(lab: RunningLab) -> None:
    left = lab.path.with_name("left.yaml")
    ignored = "routes: {ignore: [proto bird, type blackhole to 10.88.0.0/16]}\nhosts:\n"
    left.write_text(LAB.replace("hosts:\n", ignored), encoding="utf-8")
    by_hand(lab, BESIDE)
    try:
        answer = lab.json("drift", "--fix", "--hosts", "host01")
        removals = {row["name"]: row["why"] for row in answer.bad()}
        assert set(removals) == {"172.30.0.0/16", "fd77::/64", "10.88.0.0/16"}, answer.trouble()
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


MARK = "/etc/NetworkManager/conf.d/zz.conf"
UNIT = "/etc/systemd/system/NetworkManager.service.d"
PROFILE = "/etc/NetworkManager/system-connections/labrun-network1.nmconnection"
SCRIPT = "/etc/NetworkManager/dispatcher.d/90-x"
UNDOES = f"""\
printf '#!/bin/sh\\n[ "$2" != up ] || ip address add 10.203.8.99/24 dev eth0\\n' >{SCRIPT}
chmod 755 {SCRIPT}; nmcli connection up labrun-network1 >/dev/null
until ip -o address show dev eth0 | grep -q 10.203.8.99; do sleep 0.1; done
"""
# Host, what is done to it by hand and undone, and what a row has to say of it.
BY_HAND: dict[str, Cause] = {
    **CAUSES,
    "ttl-written": (
        "host00",
        *site("ip", "prerouting", "ip daddr 10.204.8.11 ip ttl set 1"),
        "host00: nftables rewrites it: ip site, chain c: ip daddr 10.204.8.11 ip ttl set 1",
    ),
    "hop-limit-written": (
        "host00",
        *site("ip6", "prerouting", "ip6 daddr fd00:204:8::11 ip6 hoplimit set 1"),
        "host00: nftables rewrites it: ip6 site, chain c: ip6 daddr fd00:204:8::11 ip6 hoplimit set 1",
    ),
    "target-written": (
        "host00",
        *site("ip", "prerouting", "ip daddr 10.204.8.11 ip daddr set 10.204.8.77"),
        "host00: nftables rewrites it: ip site, chain c: ip daddr 10.204.8.11 ip daddr set 10.204.8.77",
    ),
    "source-written-v6": (
        "host00",
        *site("ip6", "postrouting", "ip6 daddr fd00:204:8::11 ip6 saddr set fd99::9"),
        "host00: nftables rewrites it: ip6 site, chain c: ip6 daddr fd00:204:8::11 ip6 saddr set fd99::9",
    ),
    "egress-drops-v6": (
        "host00",
        *site("netdev", "egress", "ip6 daddr fd00:204:8::11 drop", "device eth1"),
        "host00: nftables drops it: netdev site, chain c: ip6 daddr fd00:204:8::11 drop",
    ),
    "tcp-drops": (
        "host00",
        *site("ip6", "forward", "meta l4proto tcp drop"),
        "host00: nftables drops TCP: ip6 site, chain c: meta l4proto ",
    ),
    "udp-drops": (
        "host00",
        *site("ip", "forward", "meta l4proto udp drop"),
        "host00: nftables drops UDP: ip site, chain c: meta l4proto ",
    ),
    "no-answer-to-traces": (
        "host00",
        *site("ip", "output", "icmp type time-exceeded drop"),
        "host00: nftables drops it: ip site, chain c: icmp type time-exceeded drop",
    ),
    "advertisements-drop": (
        "host02",
        "; ".join([site("ip6", "output", "icmpv6 type nd-neighbor-advert drop")[0], "ip -6 neigh flush all"]),
        "nft delete table ip6 site",
        "host02: nftables drops neighbour advertisements: ",
    ),
    "source-of-nobody": (
        "host01",
        """
ip address add 172.31.0.1/32 dev lo
ip route replace $(ip route show default | sed 's/ src [^ ]*//') src 172.31.0.1
""",
        """
ip route replace $(ip route show default | sed 's/ src [^ ]*//')
ip address del 172.31.0.1/32 dev lo
""",
        "host01: sends from 172.31.0.1, not from 10.203.8.11: the route to default says so",
    ),
    "source-of-nobody-v6": (
        "host01",
        """
ip address add fd99::1/128 dev lo
ip -6 route replace $(ip -6 route show default | sed 's/ src [^ ]*//; s/ pref .*//') src fd99::1
""",
        """
ip -6 route replace $(ip -6 route show default | sed 's/ src [^ ]*//; s/ pref .*//')
ip address del fd99::1/128 dev lo
""",
        "host01: sends from fd99::1, not from fd00:203:8::11: the route to default says so",
    ),
    "mtu-of-a-route": (
        "host01",
        "ip route replace $(ip route show default) mtu 600",
        "ip route replace $(ip route show default | sed 's/ mtu .*//')",
        "the lab file has it without mtu 600: `ip route replace default via 10.203.8.254 dev eth0",
    ),
    "mtu-of-ipv6": (
        "host00",
        "sysctl -qw net.ipv6.conf.eth1.mtu=1280",
        "sysctl -qw net.ipv6.conf.eth1.mtu=1500",
        "net.ipv6.conf.eth1.mtu is 1280, not 1500: `sysctl -w net.ipv6.conf.eth1.mtu=1500`",
    ),
    "queue-loses": (
        "host00",
        "tc qdisc add dev eth1 root tbf rate 8bit burst 1 limit 1",
        "tc qdisc del dev eth1 root",
        "host00: the queue tbf on eth1 (network2) delays or drops packets",
    ),
    "policy-blocks": (
        "host01",
        "ip xfrm policy add src 10.203.8.11/32 dst 10.204.8.11/32 dir out action block",
        "ip xfrm policy flush",
        "host01: IPsec policies have blocked ",
    ),
    "name-of-another": (
        "host01",
        "sed -i '1i 10.9.9.9 host03' /etc/hosts",
        "sed -i 1d /etc/hosts",
        "line 1 gives host03 the address 10.9.9.9, not its own: take it out there",
    ),
    "name-of-another-v6": (
        "host01",
        "echo 'fd99::9 host03' >>/etc/hosts",
        "sed -i '$d' /etc/hosts",
        "gives host03 the address fd99::9, not its own: take it out there",
    ),
    "parameters-not-at-boot": (
        "host00",
        "systemctl mask systemd-sysctl.service 2>/dev/null",
        "systemctl unmask systemd-sysctl.service 2>/dev/null",
        "systemd-sysctl.service does not start at boot, it is masked",
    ),
    "pings-silenced-at-boot": (
        "host00",
        "echo 'net.ipv6.icmp.echo_ignore_all = 1' >/etc/sysctl.d/zz.conf",
        "rm /etc/sysctl.d/zz.conf",
        "/etc/sysctl.d/zz.conf sets net.ipv6.icmp.echo_ignore_all = 1: no answer to pings",
    ),
    "unmanaged-at-boot": (
        "host01",
        f"printf '[keyfile]\\nunmanaged-devices=interface-name:eth0\\n' >{MARK}",
        f"rm {MARK}",
        f"{MARK} has NetworkManager leave eth0 alone at the next boot",
    ),
    "condition-fails-at-boot": (
        "host01",
        f"mkdir -p {UNIT}; printf '[Unit]\\nConditionPathExists=/nowhere\\n' >{UNIT}/z.conf",
        f"rm -r {UNIT}",
        f"NetworkManager.service does not start at boot: ConditionPathExists=/nowhere fails ({UNIT}/z.conf)",
    ),
    "sshd-not-to-be-run": (
        "host01",
        "touch /etc/ssh/sshd_not_to_be_run",
        "rm /etc/ssh/sshd_not_to_be_run",
        "ssh.service does not start at boot: ConditionPathExists=!/etc/ssh/sshd_not_to_be_run fails",
    ),
    "profile-ignored": (
        "host01",
        f"chmod 644 {PROFILE}",
        f"chmod 600 {PROFILE}",
        f"NetworkManager ignores {PROFILE}, which is not root's alone",
    ),
    "dispatcher-undoes": (
        "host01",
        UNDOES,
        f"rm {SCRIPT}; ip address del 10.203.8.99/24 dev eth0",
        f"something changed what the active profile sets; NetworkManager's dispatcher runs {SCRIPT}",
    ),
    "host-vouches-for-users": (
        "host01",
        "printf 'Match User bob\\nHostbasedAuthentication yes\\n' >/etc/ssh/sshd_config.d/60-x.conf",
        "rm /etc/ssh/sshd_config.d/60-x.conf",
        "Match User bob in /etc/ssh/sshd_config.d/60-x.conf:2 sets hostbasedauthentication yes",
    ),
    "passwords-at-sshd-s-next-start": (
        "host01",
        (
            "cp -p /etc/default/ssh /var/tmp/ssh-before\n"
            "echo 'SSHD_OPTS=\"-o PasswordAuthentication=yes\"' >>/etc/default/ssh"
        ),
        "cp -p /var/tmp/ssh-before /etc/default/ssh",
        "/etc/default/ssh gives sshd at its next start passwordauthentication yes: take it out there",
    ),
    "another-sshd": (
        "host01",
        "/usr/sbin/sshd -o PasswordAuthentication=yes -o Port=2200 -o PidFile=/run/other.pid",
        "kill $(cat /run/other.pid)",
        "another sshd runs here with passwordauthentication yes: take it out there",
    ),
}
QUICK_BY_HAND = ("protocol-v6",)


@pytest.mark.parametrize(
    "name",
    [each if each in QUICK_BY_HAND else pytest.param(each, marks=pytest.mark.full) for each in BY_HAND],
)
def test_what_somebody_does_by_hand_is_named(lab: RunningLab, name: str) -> None:
    host, plant, undo, told = BY_HAND[name]
    by_hand(lab, plant, host)
    try:
        # What verify does not read, drift does.
        answers = (lab.json(verb) for verb in ("verify", "drift"))
        said = [[row["why"] or "" for row in answer.bad()] for answer in answers]
        assert any(told in why for why in (*said[0], *said[1])), said
    finally:
        by_hand(lab, undo, host)
    healthy(lab)


FLIP = """\
cd /run/systemd/system
printf '[Service]\\nType=oneshot\\nExecStart=sysctl -w net.ipv4.ip_forward=0\\n' >flip.service
systemctl daemon-reload; systemctl start flip
"""


@pytest.mark.full
def test_what_a_unit_sets_again_and_again_is_told_as_such(lab: RunningLab) -> None:
    """The history shows that it does not stay, the journal what has run."""
    healthy(lab)
    try:
        for times in (1, 2):
            by_hand(lab, FLIP, "host00")
            answer = lab.json("--hosts", "host00", "drift")
            assert answer.exit_code == 3
            moved = [each["times"] for each in answer.document["moved"] if each["section"] == "sysctl"]
            assert moved == ([] if times == 1 else [2])
            lines = answer.document["logged"]["host00"]["lines"]
            assert any(line["source"] == "systemd" and "flip.service" in line["text"] for line in lines), (
                lines
            )
            fixed = lab.json("--hosts", "host00", "drift", "--fix")
            assert fixed.exit_code == 0, fixed.trouble()
    finally:
        by_hand(lab, "rm /run/systemd/system/flip.service; systemctl daemon-reload", "host00")
    healthy(lab)


@pytest.mark.full
def test_a_full_tmp_makes_no_path_fail(lab: RunningLab) -> None:
    by_hand(lab, "mount -t tmpfs -o size=8k none /tmp; dd if=/dev/zero of=/tmp/full 2>/dev/null || :")
    try:
        healthy(lab)
    finally:
        by_hand(lab, "umount /tmp")
