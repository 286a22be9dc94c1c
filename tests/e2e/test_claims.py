"""A stranger with an address of the lab is seen although every cache is still right, in both families."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.e2e.guests import inside, wait_until
from tests.labs import RunningLab

Make = Callable[[str], RunningLab]
LAB = """\
name: e2e-claims
hypervisor: lxc:///system
defaults: {image: debian-12, memory: 256}
networks:
  net: {mode: nat, cidr: 10.143.3.0/24, cidr6: "fd00:143:3::/64"}
hosts:
  one: {networks: {net: {ipv4: 10.143.3.11, ipv6: "fd00:143:3::11"}}}
  # The hypervisor lets through what the stranger says.
  two: {networks: {net: {ipv4: 10.143.3.12, ipv6: "fd00:143:3::12", spoofing: allow}}}
"""
MAC = "02:00:00:aa:bb:cc"
# In a network namespace of its own, on a device beside two's NIC.
STRANGER = f"""
systemd-run --quiet --unit stranger unshare --net sleep 600
sleep 1
pid=$(pgrep -f '^sleep 600')
ip link add link eth0 name over type macvlan mode bridge
ip link set over address {MAC} netns "$pid"
nsenter -t "$pid" -n sh -c '
ip addr add 10.143.3.HOST/24 dev over
ip -6 addr add fd00:143:3::HOST/64 dev over nodad
ip link set over up'
"""


def test_a_strangers_claim_is_named(make_lab: Make) -> None:
    lab = make_lab(LAB)
    assert lab.json("up").exit_code == 0
    assert lab.json("configure").exit_code == 0
    healthy = lab.json("verify")
    assert healthy.exit_code == 0, healthy.trouble()
    plant("11")
    for verb, status in (("verify", "failed"), ("drift", "drifted")):
        (row,) = lab.json(verb).of("address", "one", "net")
        assert (row["status"], row["why"]) == (
            status,
            f"{MAC} answers for 10.143.3.11 as well; {MAC} answers for fd00:143:3::11 as well",
        )
    inside("e2e-claims-two", "systemctl stop stranger")
    assert lab.json("verify").of("address", "one", "net")[0]["status"] == "ok"
    assert lab.json("verify").exit_code == 0


@pytest.mark.full
def test_a_claim_on_the_hypervisor_s_address_is_named(make_lab: Make) -> None:
    lab = make_lab(LAB)
    assert lab.json("up").exit_code == 0
    assert lab.json("configure").exit_code == 0
    # The hypervisor is the gateway. What the hosts have learnt of it may still be right, or not.
    plant("1")
    (row,) = lab.json("verify").of("network", "hypervisor", "net")
    taken = f"{MAC} answers for 10.143.3.1 as well; {MAC} answers for fd00:143:3::1 as well"
    whose = f"{taken}: the address is the hypervisor's own"
    assert (row["status"], row["why"]) == ("failed", whose)
    drift = lab.json("drift")
    (row,) = drift.of("network", "hypervisor", "net")
    assert (drift.exit_code, row["status"], row["why"]) == (3, "drifted", whose)
    # Nothing of labrun's can correct that.
    (row,) = lab.json("-y", "drift", "--fix").of("network", "hypervisor", "net")
    assert (row["status"], row["why"]) == ("drifted", whose)
    inside("e2e-claims-two", "systemctl stop stranger")
    assert lab.json("verify").of("network") == []
    assert lab.json("drift").of("network", "hypervisor", "net")[0]["status"] == "ok"


def plant(number: str) -> None:
    """Have the stranger take this address of the network, in both families."""
    inside("e2e-claims-two", STRANGER.replace("HOST", number))
    wait_until("e2e-claims-two", "pgrep -f '^sleep 600' >/dev/null && ! ip link show over 2>/dev/null")
