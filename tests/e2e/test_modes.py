"""What each mode of a network does, seen from inside its guests and from the network outside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import ip_address

import pytest

from tests.e2e.conftest import write_lab
from tests.e2e.guests import inside, wait_until
from tests.e2e.segment import BRIDGE, DEVICE, LAN, PORT, WIRE, on_hypervisor, outer_segment, reached
from tests.labs import RunningLab

pytestmark = pytest.mark.lxc

LAB = f"""\
name: e2e-modes
hypervisor: lxc:///system
defaults: {{memory: 128}}
networks:
  net-nat: {{mode: nat, cidr: 10.81.1.0/24, cidr6: "fd00:81:1::/64"}}
  net-route: {{mode: route, cidr: 10.81.2.0/24, cidr6: "fd00:81:2::/64"}}
  net-open: {{mode: open, cidr: 10.81.3.0/24, cidr6: "fd00:81:3::/64"}}
  net-isolated: {{mode: isolated, cidr: 10.81.4.0/24, cidr6: "fd00:81:4::/64"}}
  net-very-isolated: {{mode: very-isolated, cidr: 10.81.5.0/24, cidr6: "fd00:81:5::/64"}}
  net-bridge: {{mode: bridge, bridge: {BRIDGE}, cidr: {LAN[0]}0/24, cidr6: "{LAN[1]}/64"}}
  net-macvtap: {{mode: macvtap, dev: {DEVICE}, cidr: {WIRE[0]}0/24, cidr6: "{WIRE[1]}/64"}}
hosts:
  nat: {{networks: {{net-nat: {{ipv4: 10.81.1.21, ipv6: "fd00:81:1::21"}}}}}}
  route: {{networks: {{net-route: {{ipv4: 10.81.2.21, ipv6: "fd00:81:2::21"}}}}}}
  open: {{networks: {{net-open: {{ipv4: 10.81.3.21, ipv6: "fd00:81:3::21"}}}}}}
  isolated: {{networks: {{net-isolated: {{ipv4: 10.81.4.21, ipv6: "fd00:81:4::21"}}}}}}
  very-isolated: {{networks: {{net-very-isolated: {{ipv4: 10.81.5.21, ipv6: "fd00:81:5::21"}}}}}}
  neighbour: {{networks: {{net-very-isolated: {{ipv4: 10.81.5.22, ipv6: "fd00:81:5::22"}}}}}}
  bridge: {{networks: {{net-bridge: {{ipv4: {LAN[0]}21, ipv6: "{LAN[1]}21"}}}}}}
  bridge-leased: {{networks: {{net-bridge: {{ipv4: dhcp, ipv6: auto}}}}}}
  macvtap: {{networks: {{net-macvtap: {{ipv4: {WIRE[0]}21, ipv6: "{WIRE[1]}21"}}}}}}
  macvtap-leased: {{networks: {{net-macvtap: dhcp}}}}
"""
CUT_OFF = ("very-isolated", "neighbour", "macvtap", "macvtap-leased")


@dataclass(frozen=True)
class Mode:
    """What a guest of a mode can do: how it is ``seen`` outside, and who reaches whom.

    ``hypervisor`` is where the hypervisor is or would be, ``outside`` the server that the guest asks.
    """

    own: tuple[str, str]
    hypervisor: tuple[str, str]
    seen: str
    reaches_hypervisor: bool
    is_reached: bool
    outside: tuple[str, str] = (LAN[0] + "10", LAN[1] + "10")


def inner(number: int) -> tuple[tuple[str, str], tuple[str, str]]:
    return (f"10.81.{number}.21", f"fd00:81:{number}::21"), (f"10.81.{number}.1", f"fd00:81:{number}::1")


MODES = {
    "nat": Mode(*inner(1), "hypervisor", True, False),
    "route": Mode(*inner(2), "itself", True, True),
    "open": Mode(*inner(3), "itself", True, True),
    "isolated": Mode(*inner(4), "", True, False),
    "very-isolated": Mode(*inner(5), "", False, False),
    "bridge": Mode((LAN[0] + "21", LAN[1] + "21"), (LAN[0] + "2", LAN[1] + "2"), "itself", True, True),
    "macvtap": Mode(
        (WIRE[0] + "21", WIRE[1] + "21"),
        (WIRE[0] + "2", WIRE[1] + "2"),
        "itself",
        False,
        True,
        (WIRE[0] + "10", WIRE[1] + "10"),
    ),
}
VERSIONS = pytest.mark.parametrize("version", [4, 6])
# Who answers whom is a matter of the bridge: the same for both.
ONE_VERSION = pytest.mark.parametrize("version", [4, pytest.param(6, marks=pytest.mark.full)])


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    directory = tmp_path_factory.mktemp("modes")
    made = write_lab(directory, LAB)
    with outer_segment(directory, "10.81.0.0/16", "fd00:81::/32"):
        try:
            up = made.json("up")
            hosts = (*MODES, "neighbour", "bridge-leased", "macvtap-leased")
            statuses = {row["host"]: row["status"] for row in up.of("ready")}
            assert statuses == dict.fromkeys(hosts, "ok"), up.trouble()
            configured = made.json("configure")
            assert configured.exit_code == 0, configured.trouble()
            for host in CUT_OFF:
                wait_until(f"e2e-modes-{host}", "ip -brief -4 address show scope global | grep -q UP")
            yield made
        finally:
            made.run("-y", "down")


def asked(mode: str, address: str) -> str:
    """Return as whom a guest is seen by the server outside, empty if it does not get there."""
    where = f"[{address}]" if ":" in address else address
    code = f"import urllib.request as u; print(u.urlopen('http://{where}:{PORT}', timeout=3).read().decode())"
    return inside(f"e2e-modes-{mode}", f'python3 -c "{code}" 2>/dev/null').strip()


def pinged(mode: str, address: str) -> bool:
    return "yes" in inside(f"e2e-modes-{mode}", f"ping -c 2 -W 1 {address} >/dev/null 2>&1 && echo yes")


@VERSIONS
@pytest.mark.parametrize("mode", MODES)
def test_how_a_guest_is_seen_outside(mode: str, version: int, lab: RunningLab) -> None:
    its, which = MODES[mode], version == 6
    outside, own = its.outside[which], its.own[which]
    if its.seen:
        as_whom = {"itself": own, "hypervisor": (LAN[0] + "2", LAN[1] + "2")[which]}[its.seen]
        assert ip_address(asked(mode, outside)) == ip_address(as_whom)
        return
    assert asked(mode, outside) == ""
    # Nor by a route that it should not have.
    via = f"via {its.hypervisor[which]}" if its.reaches_hypervisor else "dev eth0"
    route = f"{outside}/{128 if which else 32} {via}"
    inside(f"e2e-modes-{mode}", f"ip route add {route}")
    try:
        assert asked(mode, outside) == ""
    finally:
        inside(f"e2e-modes-{mode}", f"ip route del {route}")


@ONE_VERSION
@pytest.mark.parametrize("mode", MODES)
def test_whether_guest_and_hypervisor_meet(mode: str, version: int, lab: RunningLab) -> None:
    its, which = MODES[mode], version == 6
    assert pinged(mode, its.hypervisor[which]) is its.reaches_hypervisor
    ping = on_hypervisor("ping", "-c", "2", "-W", "1", its.own[which], check=False)
    assert (" 0% packet loss" in ping) is its.reaches_hypervisor
    if mode == "very-isolated":
        # The network itself works, and nobody else answers on it.
        assert pinged(mode, ("10.81.5.22", "fd00:81:5::22")[which])
        answers = inside(f"e2e-modes-{mode}", "ping -c 2 -W 1 ff02::1%eth0 | grep -c 'bytes from' || true")
        assert int(answers) <= 4, "two answers each of itself and the neighbour"


@VERSIONS
@pytest.mark.parametrize("mode", MODES)
def test_who_gets_in_from_outside(mode: str, version: int, lab: RunningLab) -> None:
    assert reached(MODES[mode].own[version == 6]) is MODES[mode].is_reached


def test_libvirt_has_no_rules_for_an_open_network(lab: RunningLab) -> None:
    rules = "".join(
        on_hypervisor(*command, check=False)
        for command in (["iptables-save"], ["ip6tables-save"], ["nft", "list", "ruleset"])
    )
    for network, ruled in (
        ("net-open", False),
        ("net-route", True),
        ("net-nat", True),
        ("net-isolated", True),
    ):
        assert (bridge_of(network) in rules) is ruled, network


def bridge_of(network: str) -> str:
    import libvirt

    connection = libvirt.open("lxc:///system")
    try:
        return str(connection.networkLookupByName(f"e2e-modes-{network}").bridgeName())
    finally:
        connection.close()


@pytest.mark.parametrize(("host", "wire"), [("bridge-leased", LAN), ("macvtap-leased", WIRE)])
def test_a_lease_of_the_network_outside_is_read_inside_the_guest(
    host: str, wire: tuple[str, str], lab: RunningLab
) -> None:
    (status,) = (each for each in lab.json("status").document["hosts"] if each["name"] == host)
    (address,) = status["addresses"].values()
    assert 100 <= int(address.removeprefix(wire[0])) <= 150
    assert status["address_source"] == ("agent" if host not in CUT_OFF else None)
    assert reached(address)


def test_an_address_made_of_the_mac_is_the_one_that_the_file_implies(lab: RunningLab) -> None:
    (row,) = lab.json("verify", "--hosts", "bridge-leased").of("address", "bridge-leased")
    assert row["status"] == "ok", row
    six = next(each for each in row["expected"].split() if ":" in each)
    assert six.startswith(LAN[1])
    assert ip_address(asked("bridge-leased", LAN[1] + "10")) == ip_address(six.partition("/")[0])


def test_a_host_without_a_way_in_is_looked_at_from_inside_at_once(lab: RunningLab) -> None:
    again = lab.json("up")
    assert again.exit_code == 0
    assert again.document["seconds"] < 60
    assert again.statuses("machine", "network") == {"ok"}
    why = {row["host"]: row["why"] for row in again.of("ready") if row["host"] in CUT_OFF}
    no_way = {
        "net-very-isolated": "where the hypervisor has no address",
        "net-macvtap": "a macvtap network: hypervisor and guests cannot reach each other there",
    }
    on = dict(zip(CUT_OFF, ["net-very-isolated"] * 2 + ["net-macvtap"] * 2, strict=True))
    assert why == {
        host: f"the hypervisor has no way to {host}: only on {network}, {no_way[network]}: seen out of band"
        for host, network in on.items()
    }


def test_a_second_configure_changes_nothing_and_verify_fails_nothing(lab: RunningLab) -> None:
    configured = lab.json("configure")
    assert (configured.exit_code, configured.statuses()) == (0, {"ok"}), configured.trouble()
    verified = lab.json("verify")
    # What the hypervisor's own routes make possible is no failure.
    assert verified.exit_code == 0, verified.trouble()
    assert verified.statuses() <= {"ok", "skipped"}, verified.trouble()
    # Those that no login leads to were read inside.
    assert {row["host"] for row in verified.of("ready")} == set(CUT_OFF)
    seen = [row for row in verified.rows if row["host"] in CUT_OFF and row["status"] == "ok"]
    assert all("seen out of band" in row["why"] for row in seen), seen


@pytest.mark.full
def test_a_nic_on_macvtap_is_plugged_into_a_running_container(lab: RunningLab) -> None:
    before = lab.path.read_text(encoding="utf-8")
    own = 'isolated: {networks: {net-isolated: {ipv4: 10.81.4.21, ipv6: "fd00:81:4::21"}}}'
    assert own in before
    lab.path.write_text(before.replace(own, f"{own[:-2]}, net-macvtap: {WIRE[0]}22}}}}"), encoding="utf-8")
    # The NIC has no address before that is configured: to wait for one would be in vain.
    lab.run("up", "--no-wait", "--hosts", "isolated")
    configured = lab.json("configure", "--hosts", "isolated")
    assert configured.exit_code == 0, configured.trouble()
    assert reached(f"{WIRE[0]}22")
    # libvirt cannot take it out again while the container runs.
    lab.path.write_text(before, encoding="utf-8")
    refused = lab.json("up", "--hosts", "isolated")
    (row,) = refused.of("machine", "isolated")
    assert (refused.exit_code, row["status"]) == (5, "failed")
    assert row["why"].endswith(
        "a NIC on a macvtap network leaves a container only while that is off "
        "(`labrun stop --hosts isolated`, then `labrun up`)"
    )
    assert lab.run("-y", "stop", "--hosts", "isolated").exit_code == 0
    assert lab.json("up", "--hosts", "isolated").exit_code == 0
    assert not reached(f"{WIRE[0]}22")
