"""What the guest's shell makes of two listings: commands that lead back, nothing where all is the same."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from tests import places

GUEST = places.GUEST_SHELL
FOREVER = "\\       valid_lft forever preferred_lft forever"
MODE = "mode DEFAULT group default qlen 1000"
LINK = (
    f"1: lo: <LOOPBACK,UP,LOWER_UP> mtu 65536 qdisc noqueue state UNKNOWN {MODE}\\    "
    "link/loopback 00:00:00:00:00:00 brd 00:00:00:00:00:00"
)
ETH0 = (
    f"12: eth0@if13: <BROADCAST,MULTICAST,UP,LOWER_UP> mtu 1500 qdisc noqueue state UP {MODE}\\    "
    "link/ether 52:54:00:aa:00:01 brd ff:ff:ff:ff:ff:ff link-netnsid 0"
)
A1 = f"12: eth0    inet 10.0.0.1/24 brd 10.0.0.255 scope global noprefixroute eth0{FOREVER}"
LEASE = (
    "12: eth0    inet 10.0.0.7/24 brd 10.0.0.255 scope global dynamic noprefixroute eth0"
    "\\       valid_lft 3000sec preferred_lft 2000sec"
)
A6 = (
    "12: eth0    inet6 fd00::1/64 scope global noprefixroute \\       valid_lft forever preferred_lft forever"
)
DEFAULT = "default via 10.0.0.254 dev eth0 proto static metric 100 "
CONNECTED = "10.0.0.0/24 dev eth0 proto kernel scope link src 10.0.0.1 metric 100 "
ROUTE6 = "default via fe80::1 dev eth0 proto ra metric 100 expires 1700sec pref medium"
LOCAL = "local 10.0.0.1 dev eth0 table local proto kernel scope host src 10.0.0.1 "
RULES = [
    "0:\tfrom all lookup local",
    "32766:\tfrom all lookup main",
    "rule6 0:\tfrom all lookup local",
]
HOST = [LINK, ETH0, A1, A6, DEFAULT, CONNECTED, ROUTE6, LOCAL, *RULES]
AWKS = [name for name in ("mawk", "gawk", "busybox", "original-awk") if shutil.which(name)]


@pytest.fixture(params=AWKS)
def awk(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Return a folder in which `awk` is one of those that guests have."""
    folder = tmp_path / "bin"
    folder.mkdir()
    program = shutil.which(request.param)
    assert program is not None
    words = "awk " if request.param == "busybox" else ""
    (folder / "awk").write_text(f'#!/bin/sh\nexec {program} {words}"$@"\n')
    (folder / "awk").chmod(0o755)
    return folder


def difference(awk: Path, function: str, old: list[str], new: list[str], *words: str) -> list[str]:
    """Return what a function of snapshot.sh prints for two listings."""
    for name, lines in (("old", old), ("new", new)):
        (awk / name).write_text("".join(f"{line}\n" for line in lines))
    done = subprocess.run(
        [
            "sh",
            "-c",
            f'for each in compare outside outside_units; do . "{GUEST}/$each.sh"; done; {function} "$@"',
            "sh",
            f"{awk}/old",
            f"{awk}/new",
            *words,
        ],
        env={"PATH": f"{awk}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stderr == ""
    return done.stdout.splitlines()


def swapped(line: str, *changes: tuple[str, str]) -> list[str]:
    """Return the host with one line replaced by the same with other words."""
    other = line
    for old, new in changes:
        assert old in other
        other = other.replace(old, new)
    return [other if each == line else each for each in HOST]


def without(*lines: str) -> list[str]:
    return [line for line in HOST if line not in lines]


ADD_A1 = "4 address add 10.0.0.1/24 brd 10.0.0.255 noprefixroute dev eth0"
DEL_A1 = "4 address del 10.0.0.1/24 dev eth0"
SAME: dict[str, list[str]] = {
    "nothing": HOST,
    "a router's advertisement that ran on": swapped(ROUTE6, ("1700sec", "1500sec")),
    "a lease that came": [*HOST, LEASE],
    "a container's cable": [
        *HOST,
        "14: veth9@if2: <BROADCAST,UP> mtu 1500 qdisc noqueue state UP\\    link/ether 0a:00:00:00:00:09",
    ],
    "a container's bridge": [
        *HOST,
        "15: br-0123456789ab: <BROADCAST,UP> mtu 1500 qdisc noqueue\\    link/ether 0a:00:00:00:00:08",
    ],
    "an address on a container's cable": [
        *HOST,
        "14: veth9    inet 10.3.0.1/24 scope global veth9\\       valid_lft forever preferred_lft forever",
    ],
    "a link-local address": [
        *HOST,
        "12: eth0    inet6 fe80::2/64 scope link \\       valid_lft forever preferred_lft forever",
    ],
    "a privacy address": [
        *HOST,
        (
            "12: eth0    inet6 fd00::7/64 scope global temporary dynamic \\       valid_lft 60sec "
            "preferred_lft 30sec"
        ),
    ],
    "a cable without a signal": swapped(DEFAULT, ("metric 100 ", "metric 100 linkdown ")),
    "a local route of the kernel's": [
        *HOST,
        "local 10.0.0.7 dev eth0 table local proto kernel scope host src 10.0.0.7 ",
    ],
    "the kernel's own unreachable": [
        *HOST,
        "unreachable default dev lo table unspec proto kernel metric 4294967295 error -101 pref medium",
    ],
}
CHANGED: dict[str, tuple[list[str], list[str]]] = {
    "link down": (swapped(ETH0, (",UP,LOWER_UP", "")), ["4 link set dev eth0 up"]),
    "mtu": (swapped(ETH0, ("mtu 1500", "mtu 1280")), ["4 link set dev eth0 mtu 1500"]),
    "no ARP": (swapped(ETH0, ("MULTICAST", "MULTICAST,NOARP")), ["4 link set dev eth0 arp on"]),
    "master": (swapped(ETH0, ("state UP", "master br0 state UP")), ["4 link set dev eth0 nomaster"]),
    "MAC": (swapped(ETH0, ("00:01", "00:77")), ["4 link set dev eth0 address 52:54:00:aa:00:01"]),
    "XDP": (
        swapped(
            ETH0, ("mtu 1500", "mtu 1500 xdp"), ("link-netnsid 0", "link-netnsid 0\\    prog/xdp id 4 tag 3b")
        ),
        ["4 link set dev eth0 xdp off"],
    ),
    "a queue that loses": (swapped(ETH0, ("noqueue", "netem")), ["tc qdisc del dev eth0 root"]),
    "another name": (
        swapped(ETH0, ("eth0@", "other@")),
        ["4 link set dev other down", "4 link set dev other name eth0"],
    ),
    "no link": (without(ETH0), ["4 link show dev eth0"]),
    "a link more": (
        [*HOST, "14: v9@eth0: <BROADCAST,UP> mtu 1500 qdisc noqueue\\    link/ether 0a:00:00:00:00:09"],
        ["4 link del dev v9"],
    ),
    "a bridge that only begins like a container's": (
        [*HOST, "14: br-lan: <BROADCAST,UP> mtu 1500 qdisc noqueue\\    link/ether 0a:00:00:00:00:09"],
        ["4 link del dev br-lan"],
    ),
    "no address": (without(A1), [ADD_A1]),
    "no IPv6 address": (without(A6), ["6 address add fd00::1/64 noprefixroute nodad dev eth0"]),
    "an address more": (
        [*HOST, A1.replace("10.0.0.1/24", "10.9.0.1/24")],
        ["4 address del 10.9.0.1/24 dev eth0"],
    ),
    "another length": (swapped(A1, ("/24", "/32")), ["4 address del 10.0.0.1/32 dev eth0", ADD_A1]),
    "another broadcast address": (swapped(A1, (".255", ".127")), [DEL_A1, ADD_A1]),
    "a label": (swapped(A1, (" eth0\\", " eth0:x\\")), [DEL_A1, ADD_A1]),
    "a peer": (
        swapped(A1, ("10.0.0.1/24", "10.0.0.1 peer 10.0.0.2/32")),
        ["4 address del 10.0.0.1 peer 10.0.0.2/32 dev eth0", ADD_A1],
    ),
    "a rank": (swapped(A1, ("global", "global secondary")), [DEL_A1, ADD_A1]),
    "an address that ends": (
        swapped(
            A1,
            ("global", "global dynamic"),
            ("valid_lft forever preferred_lft forever", "valid_lft 5sec preferred_lft 5sec"),
        ),
        [
            (
                "4 address change 10.0.0.1/24 brd 10.0.0.255 noprefixroute valid_lft forever "
                "preferred_lft forever dev eth0"
            ),
        ],
    ),
    "no default route": (
        without(DEFAULT),
        ["4 route append default via 10.0.0.254 dev eth0 proto static metric 100"],
    ),
    "a route more": (
        [*HOST, "blackhole default metric 1 "],
        ["4 route del blackhole default metric 1"],
    ),
    "an IPv6 route more": (
        [*HOST, "unreachable 2000::/3 dev lo metric 1 error -113 pref medium"],
        ["6 route del unreachable 2000::/3 dev lo metric 1 pref medium"],
    ),
    "several next hops": (
        [
            *without(DEFAULT),
            (
                "default proto static \\\tnexthop via 10.0.0.2 dev eth0 weight 1 \\\tnexthop via "
                "10.0.0.3 dev eth0 weight 1 "
            ),
        ],
        [
            (
                "4 route del default proto static nexthop via 10.0.0.2 dev eth0 weight 1 nexthop "
                "via 10.0.0.3 dev eth0 weight 1"
            ),
            "4 route append default via 10.0.0.254 dev eth0 proto static metric 100",
        ],
    ),
    "an IPv4 route over IPv6": (
        [*HOST, "10.8.0.0/16 via inet6 fe80::1 dev eth0 "],
        ["4 route del 10.8.0.0/16 via inet6 fe80::1 dev eth0"],
    ),
    "no local route": (without(LOCAL), [f"4 route append {LOCAL.strip()}"]),
    "a rule more": (
        [*HOST, "1:\tfrom all prohibit"],
        ["4 rule del pref 1 from all prohibit"],
    ),
    "no rule": (without(RULES[1]), ["4 rule add pref 32766 from all lookup main"]),
    "no IPv6 rule": (without(RULES[2]), ["6 rule add pref 0 from all lookup local"]),
    "a neighbour that somebody else stands for": (
        [*HOST, "10.0.0.254 dev eth0 lladdr 02:00:00:00:00:01 PERMANENT "],
        ["4 neigh del 10.0.0.254 dev eth0"],
    ),
    "a neighbour over IPv6": (
        [*HOST, "fd00::1 dev eth0 lladdr 02:00:00:00:00:01 router PERMANENT"],
        ["6 neigh del fd00::1 dev eth0"],
    ),
    "routes with a next hop object": (
        [
            *(*HOST, "blackhole default nhid 9 dev lo "),
            "10.9.9.0/24 nhid 10 via 10.0.0.3 dev eth0 table 77 metric 5 ",
            "fd99::/64 nhid 11 via fe80::9 dev eth0 metric 1024 pref medium",
        ],
        [
            "4 route del default nhid 9",
            "4 route del 10.9.9.0/24 nhid 10 table 77 metric 5",
            "6 route del fd99::/64 nhid 11 metric 1024",
        ],
    ),
    "a rule of a VRF": (
        [*HOST, "1000:\tfrom all lookup [l3mdev-table]"],
        ["4 rule del pref 1000 from all l3mdev"],
    ),
}


@pytest.mark.parametrize("new", SAME.values(), ids=SAME)
def test_what_passes_by_itself_is_no_difference(awk: Path, new: list[str]) -> None:
    assert difference(awk, "ip_difference", HOST, new) == []


@pytest.mark.parametrize(("new", "commands"), CHANGED.values(), ids=CHANGED)
def test_the_commands_lead_back(awk: Path, new: list[str], commands: list[str]) -> None:
    assert difference(awk, "ip_difference", HOST, new) == commands


def test_a_neighbour_that_was_there_is_put_back(awk: Path) -> None:
    old = [*HOST, "10.0.0.9 dev eth0 lladdr 02:00:00:00:00:09 PERMANENT "]
    wanted = ["4 neigh replace 10.0.0.9 dev eth0 lladdr 02:00:00:00:00:09 nud permanent"]
    assert difference(awk, "ip_difference", old, old) == []
    assert difference(awk, "ip_difference", old, HOST) == wanted
    another = old[-1].replace(":09 ", ":0a ")
    assert difference(awk, "ip_difference", old, [*HOST, another]) == wanted


def test_what_is_gone_with_its_container_is_no_difference(awk: Path) -> None:
    cable = [
        "14: veth9@if2: <BROADCAST,UP> mtu 1500 qdisc noqueue state UP\\    link/ether 0a:00:00:00:00:09",
        "14: veth9    inet 10.3.0.1/24 scope global veth9\\       valid_lft forever preferred_lft forever",
        "10.3.0.0/24 dev veth9 proto kernel scope link src 10.3.0.1 ",
        "local 10.3.0.1 dev veth9 table local proto kernel scope host src 10.3.0.1 ",
    ]
    assert difference(awk, "ip_difference", [*HOST, *cable], HOST) == []


def test_a_lease_that_ran_on_is_no_difference_and_one_that_is_lost_comes_with_its_time(awk: Path) -> None:
    later = LEASE.replace("3000", "2990").replace("2000", "1990")
    assert difference(awk, "ip_difference", [*HOST, LEASE], [*HOST, later]) == []
    assert difference(awk, "ip_difference", [*HOST, LEASE], HOST) == [
        "4 address add 10.0.0.7/24 brd 10.0.0.255 noprefixroute valid_lft 3000 preferred_lft 2000 dev eth0"
    ]


def test_a_rule_counts_the_same_with_and_without_its_nic(awk: Path) -> None:
    old = [*HOST, "5:\tfrom all iif eth9 [detached] lookup 7", "6:\tfrom all goto 9 [unresolved]"]
    new = [*HOST, "5:\tfrom all iif eth9 lookup 7", "6:\tfrom all goto 9"]
    assert difference(awk, "ip_difference", old, new) == []


def test_a_rule_for_a_protocol_without_a_name_is_deleted_by_its_number(awk: Path) -> None:
    new = [*HOST, "1:\tfrom all ipproto ipproto-6 sport 22 prohibit"]
    assert difference(awk, "ip_difference", HOST, new) == [
        "4 rule del pref 1 from all ipproto 6 sport 22 prohibit"
    ]


RUNS = "{} loaded active running A service".format
ENDED = "{} loaded inactive dead A service".format
FAILED = "{} loaded failed failed A service".format
UNITS = [RUNS("ssh.service"), RUNS("NetworkManager.service"), ENDED("rsync.service"), RUNS("a@b.service")]


@pytest.mark.parametrize(
    ("new", "commands"),
    [
        (UNITS, []),
        ([ENDED("ssh.service"), *UNITS[1:]], ["start ssh.service"]),
        ([FAILED("ssh.service"), *UNITS[1:]], ["start ssh.service"]),
        (["ssh.service masked inactive dead ssh.service", *UNITS[1:]], ["start ssh.service"]),
        ([*UNITS[1:], "ssh.service loaded reloading reload A service"], []),
        (UNITS[:3], ["start a@b.service"]),
        ([*UNITS, RUNS("other.service")], ["stop other.service"]),
        ([*UNITS, RUNS("rescue.target"), RUNS("labrun-guard-x.service")], []),
        ([*UNITS, RUNS("session-4.scope"), RUNS("user@0.service"), RUNS("run-u7.service")], []),
        ([*UNITS, RUNS("apt-daily.service"), RUNS("systemd-hostnamed.service")], []),
        ([*UNITS, RUNS("mnt.mount")], ["stop mnt.mount"]),
        ([*UNITS, RUNS("other.socket"), RUNS("other.timer")], ["stop other.socket", "stop other.timer"]),
        ([], ["start NetworkManager.service", "start a@b.service", "start ssh.service"]),
    ],
)
def test_units_that_ran_are_started_and_others_stopped(
    awk: Path, new: list[str], commands: list[str]
) -> None:
    assert sorted(difference(awk, "unit_difference", UNITS, new)) == commands


def test_a_mount_that_is_gone_is_not_mounted(awk: Path) -> None:
    assert difference(awk, "unit_difference", [*UNITS, RUNS("mnt.mount")], UNITS) == []


# What systemd-analyze prints for a unit none of whose conditions has the other result.
FAILS = "x.service: Condition{} failed.".format


@pytest.mark.parametrize(
    ("result", "said", "todo"),
    [
        ("no", [FAILS("FirstBoot=yes"), "Conditions failed."], []),
        (
            "no",
            [FAILS("PathIsMountPoint=/etc/machine-id"), FAILS("PathExists=|!/proc/vz"), "Conditions failed."],
            [],
        ),
        (
            "no",
            [FAILS("FirstBoot=yes"), FAILS("PathExists=/run/x"), "Conditions failed."],
            ["start x.service"],
        ),
        ("no", ["Unit x.service not found."], ["start x.service"]),
        ("yes", [FAILS("FirstBoot=yes"), "Conditions failed."], ["start x.service"]),
    ],
)
def test_a_unit_whose_condition_does_not_hold_is_not_missed(
    awk: Path, result: str, said: list[str], todo: list[str]
) -> None:
    (awk / "systemctl").write_text(f'#!/bin/sh\n[ "$1" != show ] || echo {result}\n')
    lines = "\n".join(said)
    (awk / "systemd-analyze").write_text(f"#!/bin/sh\ncat <<'END'\n{lines}\nEND\n")
    for name in ("systemctl", "systemd-analyze"):
        (awk / name).chmod(0o755)
    (awk / "live").mkdir()
    (awk / "units").write_text("x.service loaded active running X\n")
    script = f'guard={awk} live={awk}/live; . "{GUEST}/outside_units.sh"; unit_state() {{ :; }}\n'
    script += 'list_units; cat "$live/todo"'
    done = subprocess.run(
        ["sh", "-c", script],
        env={"PATH": f"{awk}:/usr/bin:/bin", "LC_ALL": "C.UTF-8"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.splitlines() == todo


def test_only_mounts_that_came_and_hide_what_a_login_needs_are_told(awk: Path) -> None:
    old = ["/", "/home", "/proc"]
    new = [*old, "/home", "/etc/ssh", "/mnt", "/run/user/1000", "/var/lib/docker/overlay2/a/merged", "/usr"]
    new += ["/var/lib/labrun", "/homes", "/var/lib/dockers", "/run", "/dev/shm", "/proc"]
    said = ["/home", "/etc/ssh", "/usr", "/var/lib/labrun", "/var/lib/dockers", "/run"]
    assert difference(awk, "mount_difference", old, new) == said
    assert difference(awk, "mount_difference", new, old) == []


RECORD = """\
Package: sshd
Status: install ok installed
Architecture: amd64
Version: 1:9.2-1
Description: a server
 Package: none

Package: gone
Status: deinstall ok config-files
Architecture: all
Version: 2

Package: half
Version: 3
Architecture: i386
Status: install reinstreq half-installed
"""
LISTED = ["sshd:amd64 installed 1:9.2-1", "gone:all config-files 2", "half:i386 half-installed 3"]


def test_dpkg_s_record_is_read_as_dpkg_query_prints_it(awk: Path) -> None:
    assert difference(awk, "package_list", RECORD.splitlines(), []) == LISTED


@pytest.mark.parametrize(
    ("new", "lines"),
    [
        (LISTED, []),
        (LISTED[::-1], []),
        (
            [*LISTED, "new:all unpacked 1", "sshd:i386 installed 1:9.2-1"],
            ["purge new:all", "purge sshd:i386"],
        ),
        ([LISTED[0], "gone:all installed 2", LISTED[2]], ["purge gone:all"]),
        ([LISTED[0], "gone:all not-installed ", LISTED[2]], []),
        ([*LISTED[1:], "sshd:amd64 config-files 1:9.2-1"], ["gone sshd:amd64"]),
        (LISTED[1:], ["gone sshd:amd64"]),
        (["sshd:amd64 installed 1:9.3-1", *LISTED[1:]], ["replaced sshd:amd64"]),
    ],
)
def test_packages_that_came_are_taken_out_and_what_went_is_told(
    awk: Path, new: list[str], lines: list[str]
) -> None:
    assert sorted(difference(awk, "package_difference", LISTED, new)) == sorted(lines)


def test_kernel_values_that_are_others_are_told_as_they_were(awk: Path) -> None:
    old = ["/proc/sys/a:1", "/proc/sys/b:x:y", "/proc/sys/c:", "/proc/sys/gone:1", "/proc/sys/d:3\t4"]
    new = ["/proc/sys/a:2", "/proc/sys/b:x:z", "/proc/sys/c:9", "/proc/sys/came:1", "/proc/sys/d:3\t4"]
    assert difference(awk, "kernel_difference", old, new) == old[:3]
    assert difference(awk, "kernel_difference", old, old) == []
