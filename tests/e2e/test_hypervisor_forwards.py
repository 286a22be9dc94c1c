"""Ports of the hypervisor that lead into a lab, tried from an outer segment, the hypervisor and the lab."""

from __future__ import annotations

import re
import subprocess
import time
from collections.abc import Iterator

import pytest

from labrun.hypervisor import daemon_pid
from tests.e2e.conftest import write_lab
from tests.labs import RunningLab

pytestmark = pytest.mark.lxc

URI = "lxc:///system"
TABLE = "labrun/nft-e2e-fwd/forward/lan"
CLIENT = "nfte2efwd"
WEB = "web:80"
NOTHING = "nothing listens on tcp/80 on web"
# The router that is web's gateway has no IPv6, so only that comes to web with a stranger's address.
SIX = ("tcp/18080v6", "tcp/18082v6")
INPUT = "type filter hook input priority 0;"
STRANGERS = "ip6 saddr != fd00:61:94::/64 tcp dport 80 drop"
LAB = """\
name: nft-e2e-fwd
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 256}
networks:
  lan:
    mode: nat
    cidr: 10.61.94.0/24
    cidr6: "fd00:61:94::/64"
    forward:
      - {port: 18080, to: "web:80"}
      - {port: 18081, to: "fw:8081"}
      - {port: 18082, to: "[fd00:61:94::11]:80"}
      - {port: 18083, to: "10.61.94.11:5300", proto: udp}
hosts:
  web: {networks: {lan: {ipv4: 10.61.94.11, ipv6: "fd00:61:94::11"}}}
  fw:
    role: router
    networks: {lan: 10.61.94.20}
    nat:
      masquerade: all
      forward: [{on: lan, port: 8081, to: "web:80"}, {on: lan, port: 8082, to: "web:81"}]
  c: {networks: {lan: dhcp}}
"""
# A client here is no host of the lab.
OUTSIDE = f"""\
ip netns add {CLIENT}
ip link add {CLIENT} type veth peer name eth0 netns {CLIENT}
ip address add 192.0.2.1/24 dev {CLIENT}
ip address add fd00:61:99::1/64 nodad dev {CLIENT}
ip link set {CLIENT} up
ip -n {CLIENT} address add 192.0.2.9/24 dev eth0
ip -n {CLIENT} address add fd00:61:99::9/64 nodad dev eth0
ip -n {CLIENT} link set eth0 up
ip link set lo up
"""
SERVE = "systemd-run --quiet --unit pages python3 -m http.server 80 --bind ::"
# Takes datagrams and never answers.
MUTE = (
    "systemd-run --quiet --unit mute python3 -c 'import socket; s = socket.socket(type=socket.SOCK_DGRAM);"
    ' s.bind(("", 5300)); [s.recv(9) for _ in iter(int, 1)]\''
)
# As a program does that knows libvirt's rules alone; and one rule that is there, but after libvirt's.
# Other labs have rules there as well.
EMPTY = f"""\
iptables -S FORWARD | grep {TABLE} | while read -r rule; do eval "iptables -w -D ${{rule#-A }}"; done
"""
LATE = f"""\
rule=$(iptables -S FORWARD | grep {TABLE} | grep 'dport 80 ' | head -n 1)
eval "iptables -w -D ${{rule#-A }}"
eval "iptables -w $rule"
"""


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    made = write_lab(tmp_path_factory.mktemp("forwards"), LAB)
    try:
        up = made.json("up", "--configure")
        assert up.exit_code == 0, up.trouble()
        made.guest("web", f"{SERVE}; {MUTE}")
        inside(OUTSIDE)
        until = time.monotonic() + 60
        while page("127.0.0.1:18080") != "200":
            assert time.monotonic() < until, "no web server"
        yield made
    finally:
        inside(f"ip netns delete {CLIENT} || :")
        made.run("-y", "down")


def inside(script: str) -> str:
    """Run a script beside libvirtd, where the bridges are."""
    place = ["nsenter", f"--net=/proc/{daemon_pid(URI)}/ns/net", "sh", "-c", script]
    return subprocess.run(place, capture_output=True, text=True, check=True).stdout


def bridge() -> str:
    """Return the device of the lab's network."""
    done = subprocess.run(
        ["virsh", "-c", URI, "net-info", "nft-e2e-fwd-lan"], capture_output=True, text=True, check=True
    )
    return done.stdout.partition("Bridge:")[2].split()[0]


def page(where: str, client: str = "") -> str:
    """Return the HTTP status of a page, 000 without one, from the hypervisor or from the outer segment."""
    curl = f"curl -g -s -m 3 -o /dev/null -w '%{{http_code}}' http://{where}/ || :"
    return inside(f"ip netns exec {CLIENT} {curl}" if client else curl)


def test_the_ports_lead_into_the_lab_from_everywhere(lab: RunningLab) -> None:
    for where in ("192.0.2.1:18080", "[fd00:61:99::1]:18080", "192.0.2.1:18081", "[fd00:61:99::1]:18082"):
        assert page(where, CLIENT) == "200", where
    for where in ("127.0.0.1:18080", "192.0.2.1:18080", "10.61.94.1:18081", "[fd00:61:94::1]:18080"):
        assert page(where) == "200", where
    # From the lab by the hypervisor's address, the web host itself included.
    for host in ("c", "web"):
        curl = "curl -s -m 3 -o /dev/null -w '%{http_code}' http://10.61.94.1:18080/"
        assert lab.guest(host, curl, sudo=False) == "200"
    assert page("192.0.2.1:80", CLIENT) == page("10.61.94.11:80", CLIENT) == "000"
    # What the hypervisor accepts on the bridge for its own sake, guests cannot use.
    route = "ip route add 127.0.0.0/8 via 10.61.94.1 table 9; ip rule add to 127.0.0.1 lookup 9 priority 0; "
    dial = "nc -nzv -w 2 127.0.0.1 18080 2>&1 || :; ip rule del priority 0 table 9"
    tried = lab.guest("c", route + dial)
    assert "succeeded" not in tried
    assert "open" not in tried


def test_a_policy_of_drop_as_docker_sets_it_does_not_close_them(lab: RunningLab) -> None:
    inside("iptables -P FORWARD DROP")
    try:
        assert page("192.0.2.1:18080", CLIENT) == "200"
    finally:
        inside("iptables -P FORWARD ACCEPT")


@pytest.mark.full
def test_a_table_of_somebody_else_that_drops_is_named(lab: RunningLab) -> None:
    # All but this lab's own is accepted: other labs forward as well.
    hook = "{ type filter hook forward priority 5; policy drop; }"
    others = f'iifname != "{bridge()}" oifname != "{bridge()}" accept'
    inside(f"nft 'add table inet mine; add chain inet mine f {hook}; add rule inet mine f {others}'")
    try:
        planned = lab.json("plan")
        (row,) = planned.of("forward", name="inet mine")
        assert (planned.exit_code, row["status"], row["actual"]) == (0, "warning", "drops")
        assert row["why"] == "its chain f drops what it does not accept itself: accept the ports there"
        assert page("192.0.2.1:18080", CLIENT) == "000"
    finally:
        inside("nft delete table inet mine")


def test_verify_expects_what_masquerading_everything_does(lab: RunningLab) -> None:
    found = lab.json("verify")
    assert (found.exit_code, found.statuses()) == (0, {"ok"}), found.trouble()
    assert {row["name"] for row in found.of("check")} == {"c -> fw tcp/8081", "c -> fw tcp/8082"}
    assert [(row["host"], row["name"], row["actual"]) for row in found.of("forward")] == [
        ("hypervisor", f"tcp/18080 to {WEB}", "open"),
        ("hypervisor", f"tcp/18080 to {WEB} (IPv6)", "open"),
        ("hypervisor", "tcp/18081 to fw:8081", "open"),
        ("hypervisor", "tcp/18082 to fd00:61:94::11:80 (IPv6)", "open"),
        ("hypervisor", "udp/18083 to 10.61.94.11:5300", "open"),
    ]
    by_hand = lab.run("verify", "--explain").stdout
    assert "# on the hypervisor\nnc -nzv -w 4 " in by_hand
    offline = lab.json("verify", "--offline").of("forward")
    assert {(row["status"], row["expected"], row["why"]) for row in offline} == {
        ("skipped", "open", "offline")
    }


def forwards(lab: RunningLab) -> dict[str, tuple[str, str, str | None]]:
    """Return status, result and reason of each forwarded port as `verify` has them, by the port."""
    found = lab.json("verify", "--hosts", "web,fw").of("forward")
    six = {row["name"]: "v6" if "(IPv6)" in row["name"] else "" for row in found}
    return {
        row["name"].split()[0] + six[row["name"]]: (row["status"], row["actual"], row["why"]) for row in found
    }


@pytest.mark.full
def test_verify_says_why_a_port_leads_nowhere(lab: RunningLab) -> None:
    # What the table translates is not what decides: each of these is seen from outside the network.
    for breaks, mends, expected in (
        (
            "systemctl stop pages mute",
            f"{SERVE}; {MUTE}",
            {
                "tcp/18080": ("warning", "refused", NOTHING),
                "tcp/18080v6": ("warning", "refused", NOTHING),
                "tcp/18081": (
                    "warning",
                    "refused",
                    "nothing listens on tcp/80 on web, to which fw forwards it",
                ),
                "tcp/18082v6": ("warning", "refused", NOTHING),
                "udp/18083": ("warning", "refused", "nothing listens on udp/5300 on web"),
            },
        ),
        (
            f"nft 'add table ip6 mine; add chain ip6 mine c {{ {INPUT} }}; add rule ip6 mine c {STRANGERS}'",
            "nft delete table ip6 mine",
            dict.fromkeys(
                SIX, ("failed", "filtered", f"web: nftables drops it: ip6 mine, chain c: {STRANGERS}")
            ),
        ),
        (
            "ip -6 route del default",
            "nmcli device reapply eth0",
            dict.fromkeys(SIX, ("failed", "filtered", "web: no route back to OUTSIDE")),
        ),
    ):
        lab.guest("web", breaks)
        try:
            found = forwards(lab)
        finally:
            lab.guest("web", mends)
        shown = {
            port: (
                status,
                actual,
                re.sub(r"back to (?!fd00:61:94:)[0-9a-f:]+$", "back to OUTSIDE", why or ""),
            )
            for port, (status, actual, why) in found.items()
            if status != "ok"
        }
        assert shown == expected, breaks
    assert {row[0] for row in forwards(lab).values()} == {"ok"}


@pytest.mark.full
def test_verify_names_what_forwards_no_more(lab: RunningLab) -> None:
    back = "`labrun up` puts it back"
    for loss, what in (
        (f"nft delete table inet {TABLE}", f"the table inet {TABLE} is gone: {back}"),
        (LATE, f"a rule that accepts it in FORWARD is gone, or comes too late: {back}"),
    ):
        inside(loss)
        assert set(forwards(lab).values()) == {("failed", "closed", what)}, loss
        assert lab.json("up").exit_code == 0
    assert {row[0] for row in forwards(lab).values()} == {"ok"}


@pytest.mark.full
def test_a_port_that_leads_to_a_host_that_is_off_says_so(lab: RunningLab) -> None:
    assert lab.json("-y", "stop", "--hosts", "web").exit_code == 0
    try:
        found = forwards(lab)
        assert {row[0] for row in found.values()} == {"unreachable"}
        assert {row[2] for row in found.values()} == {"web: the machine is shut off: `labrun up` starts it"}
    finally:
        assert lab.json("up").exit_code == 0
        lab.guest("web", f"{SERVE}; {MUTE}")


def test_a_forward_without_a_listener_names_the_host_behind_it(lab: RunningLab) -> None:
    path = lab.path.with_name("checked.yaml")
    text = lab.path.read_text(encoding="utf-8")
    check = "checks: [{name: other, from: c, to: fw, tcp: 8082}]\n"
    path.write_text(text + check, encoding="utf-8")
    (row,) = RunningLab(path, lab.state).json("verify").of("check", name="other")
    assert (row["status"], row["actual"]) == ("failed", "refused"), row
    assert row["why"] == "nothing listens on tcp/81 on web, to which fw forwards tcp/8082"


def test_a_second_run_changes_nothing_and_what_is_lost_is_mended(lab: RunningLab) -> None:
    again = lab.json("up")
    assert (again.exit_code, again.statuses()) == (0, {"ok"}), again.trouble()
    for loss in (f"nft delete table inet {TABLE}", EMPTY, LATE):
        inside(loss)
        planned = lab.json("plan")
        (row,) = planned.of("forward")
        assert (planned.exit_code, row["actual"]) == (3, "would be changed in place"), loss
        assert lab.json("drift").of("forward")[0]["status"] == "drifted"
        up = lab.json("up")
        assert [row["section"] for row in up.rows if row["status"] == "changed"] == ["forward"], loss
        assert page("192.0.2.1:18080", CLIENT) == "200"
    second = lab.json("up")
    assert second.statuses() == {"ok"}


def test_what_the_file_forwards_no_longer_is_closed(lab: RunningLab) -> None:
    path = lab.path.with_name("fewer.yaml")
    text = lab.path.read_text(encoding="utf-8")
    head, _, rest = text.partition("    forward:\n")
    path.write_text(head + rest[rest.index("hosts:") :], encoding="utf-8")
    up = RunningLab(path, lab.state).json("up")
    assert up.exit_code == 0, up.trouble()
    assert page("192.0.2.1:18080", CLIENT) == "000"
    assert TABLE not in inside("iptables -S FORWARD; nft list tables")
    back = lab.json("up")
    assert [row["name"] for row in back.of("forward") if row["status"] == "changed"] == ["lan"]
    assert page("192.0.2.1:18080", CLIENT) == "200"


def test_down_leaves_nothing_of_them(lab: RunningLab) -> None:
    assert lab.json("-y", "down").exit_code == 0
    assert "labrun/nft-e2e-fwd" not in inside("iptables -S FORWARD; ip6tables -S FORWARD; nft list tables")
