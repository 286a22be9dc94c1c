"""What the guard puts back of addresses and routes, for real: a namespace is damaged and led back."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from tests import places

GUEST = places.GUEST_SHELL
pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="making network namespaces takes root")

# NetworkManager is not there, so nothing has to be waited for.
HEAD = """\
export LC_ALL=C.UTF-8
guard=$1/guard live=$1/live run=x sections='' seconds=1 applying=1 on=live failing='' labrun_only=functions
mkdir "$guard" "$live"
. "$2/snapshot.sh"
. "$2/compare.sh"
. "$2/put_back.sh"
. "$2/afterwards.sh"
. "$2/guard.sh"
systemctl() { return 3; }
sleep() { command sleep 0.01; }
"""
# Every kind of thing that a host may hold, on two cables whose other ends answer nobody.
SCENE = """\
set -e
for each in all default; do echo 0 >/proc/sys/net/ipv6/conf/$each/accept_dad; done
echo 0 >/proc/sys/net/ipv6/conf/default/disable_ipv6
ip link set lo up
for each in eth0 eth1; do
ip link add $each type veth peer name far-$each
ip link set far-$each up
ip link set $each up
done
ip address add 10.0.0.1/24 brd + dev eth0
ip address add 10.0.0.2/24 dev eth0 label eth0:two
ip address add fd00::1/64 dev eth0 nodad
ip address add 10.1.0.1 peer 10.1.0.2/32 dev eth1
ip address add 10.2.0.1/24 dev eth1 noprefixroute
ip route add default via 10.0.0.254 proto static metric 100
ip route add default via 10.0.0.253 metric 200 mtu lock 1400
ip route add 10.5.0.0/16 nexthop via 10.0.0.254 dev eth0 weight 2 nexthop via 10.1.0.2 dev eth1
ip route add blackhole 10.6.0.0/16
ip route add 10.7.0.0/16 via 192.0.2.1 dev eth0 onlink
ip route add 10.8.0.0/16 via inet6 fd00::fe dev eth0
ip -6 route add default via fd00::fe metric 300
ip -6 route add unreachable fd55::/16
ip route add 10.20.0.0/16 dev eth0
ip route append 10.20.0.0/16 dev eth1
ip -6 route add fd20::/32 dev eth0
ip -6 route append fd20::/32 dev eth1
ip route add default via 10.0.0.254 table 7
ip rule add pref 100 from 10.0.0.1 lookup 7
ip rule add pref 200 to 10.5.0.0/16 iif eth9 prohibit
ip -6 rule add pref 100 from fd00::1 lookup main suppress_prefixlength 0
set +e
"""
# Asked in other words than the guard's own; what a cable counts by itself is left out.
LOOK = """\
look() {
ip -o link show | sed 's/^[0-9]*: //; s/ state .*link/ link/'
ip -4 address show; ip -6 address show; ip -4 route show table all; ip -6 route show table all
ip -4 rule show; ip -6 rule show
}
# A route that is put in has a metric of its own where the kernel's had none.
seen() { look | sed 's/^[0-9]*: //; s/ nodad / /; s/ metric 1024 / metric 0 /' | sort; }
# The kernel needs a moment until an interface has what belongs to it.
settle() {
settle_round=0
until [ "$(ip -6 route show table all | grep -c '^local fe80')" -ge "$1" ] || [ $settle_round -ge 500 ]; do
settle_round=$((settle_round + 1)); command sleep 0.01
done
}
settle 4
"""
PUT_BACK = """\
rules=yes
net_state >"$guard/ip"
seen >"$1/before"
eval "$3" || exit 77
seen >"$1/damaged"
put_back_ip
settle 4
put_back_ip
seen >"$1/after"
differences
"""
PROMOTE = "echo 1 >/proc/sys/net/ipv4/conf/eth0/promote_secondaries"
LINKS = [
    "ip link set eth0 down",
    "ip link set eth0 down; ip address flush dev eth0",
    "ip link set eth0 mtu 1280",
    "ip link set eth0 arp off",
    "ip link set eth0 address 02:00:00:00:00:77",
    "ip link set eth0 down; ip link set eth0 name other; ip link set other up",
    "ip link add br7 type bridge; ip link set br7 up; ip link set eth0 master br7",
    "ip link add br7 type bridge; ip address add 10.0.0.9/24 dev br7; ip link set br7 up",
    "tc qdisc add dev eth0 root pfifo limit 1",
]
ADDRESSES = [
    "ip address del 10.0.0.1/24 dev eth0",
    "ip address del 10.0.0.2/24 dev eth0",
    "ip address del 10.1.0.1 peer 10.1.0.2/32 dev eth1",
    "ip address flush dev eth0",
    "ip address add 10.9.0.1/24 dev eth0",
    "ip address add 10.1.0.1 peer 10.1.0.3/32 dev eth1",
    "ip address change 10.0.0.1/24 dev eth0 valid_lft 600 preferred_lft 300",
    "ip -6 address change fd00::1/64 dev eth0 valid_lft 600 preferred_lft 0",
    "ip -6 address change fd00::1/64 dev eth0 preferred_lft 0",
    "ip -6 address del fd00::1/64 dev eth0; ip -6 address flush dev eth1",
    "ip address del 10.0.0.2/24 dev eth0; ip address add 10.0.0.2/24 dev eth0",
    "ip address del 10.0.0.1/24 dev eth0; ip address add 10.0.0.1/24 brd 10.0.0.127 dev eth0",
    f"{PROMOTE}; ip address del 10.0.0.1/24 dev eth0; ip address add 10.0.0.1/24 brd + dev eth0",
    "ip address del 10.2.0.1/24 dev eth1; ip address add 10.2.0.1/24 dev eth1",
]
ROUTES = [
    "ip route del default metric 100",
    "ip route replace default via 10.0.0.9 proto static metric 100",
    "ip route add blackhole default metric 1",
    "ip route del 10.0.0.0/24",
    "ip route replace 10.5.0.0/16 via 10.0.0.254",
    "ip route del blackhole 10.6.0.0/16; ip route add 10.6.0.0/16 via 10.0.0.254",
    "ip route flush table main",
    "ip route flush table local",
    "ip route flush table 7",
    "ip route flush table all",
    "ip -6 route flush table main",
    "ip -6 route flush table local",
    "ip -6 route add unreachable 2000::/3 metric 1",
    "ip -6 route del unreachable fd55::/16",
    "ip -6 route del fe80::/64 dev eth0",
]
RULES = [
    "ip rule flush",
    "ip rule add pref 1 from all prohibit",
    "ip rule add pref 5 not fwmark 0x1 lookup 7; ip rule del pref 100",
    "ip rule del pref 0",
    "ip -6 rule flush; ip -6 rule add pref 3 to fd00::/16 unreachable",
]


def shell(script: str, folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["unshare", "--net", "--mount", "sh", "-c", script, "sh", str(folder), str(GUEST), *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.parametrize("damage", [*LINKS, *ADDRESSES, *ROUTES, *RULES])
def test_a_damaged_host_is_led_back_to_how_it_was(tmp_path: Path, damage: str) -> None:
    done = shell(HEAD + SCENE + LOOK + PUT_BACK, tmp_path, damage)
    before, damaged, after = ((tmp_path / name).read_text() for name in ("before", "damaged", "after"))
    assert before != damaged, done.stderr
    assert after.splitlines() == before.splitlines()
    assert done.stdout == ""


def test_a_host_that_nobody_damaged_is_left_alone(tmp_path: Path) -> None:
    done = shell(HEAD + SCENE + LOOK + PUT_BACK + 'cat "$live/todo"', tmp_path, "true")
    assert done.stdout == ""
    assert (tmp_path / "after").read_text() == (tmp_path / "before").read_text()


def test_a_cable_that_is_no_more_is_told(tmp_path: Path) -> None:
    done = shell(HEAD + SCENE + LOOK + PUT_BACK, tmp_path, "ip link del eth1")
    assert "missing: ip link show dev eth1\n" in done.stdout


def test_what_containers_take_along_is_no_difference(tmp_path: Path) -> None:
    more = "ip link add veth5 type veth\nip address add 10.3.0.1/24 dev veth5\nip link set veth5 up\n"
    done = shell(HEAD + SCENE + more + LOOK + PUT_BACK, tmp_path, "ip link del veth5")
    assert done.stdout == ""
