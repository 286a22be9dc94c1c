"""`labrun verify` over two real hypervisors: full segments get through, or it says what loses them."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from labrun.inventory.topology.tunnels import device_of
from tests.e2e.test_several_hypervisors import MIXED, SpanningLab, mac_of, member, place_of, write
from tests.further_hypervisor import FIRST, FurtherHypervisor, further_hypervisor, in_first, own_ssh
from tests.planted_loss import large_tcp_lost, small_port
from tests.tiny_guest import tiny_disk

pytestmark = [pytest.mark.vm, pytest.mark.lxc, pytest.mark.full]

NAME = "e2e-far"
ADDRESS = "10.220.1.12"
_LISTEN = """\
import socket
s = socket.create_server(("", 22))
kept = []
while True:
    kept.append(s.accept())
"""


@pytest.fixture(scope="module")
def other(
    hypervisor: None, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Path, FurtherHypervisor]]:
    folder = tmp_path_factory.mktemp("far")
    ssh = own_ssh(folder)
    with further_hypervisor(folder / "b", ssh, 5) as b:
        yield ssh, b


@pytest.fixture(scope="module")
def lab(
    other: tuple[Path, FurtherHypervisor], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[SpanningLab]:
    """One container on the first hypervisor, and a machine on the other; a namespace answers in its place."""
    ssh, b = other
    folder = tmp_path_factory.mktemp("far-lab")
    made = write(folder, ssh, tiny_disk(folder / "tiny.qcow2"), [b], MIXED.replace("10.193.", "10.220."))
    text = made.path.read_text(encoding="utf-8").replace(f'"{FIRST}"', '"lxc:///system"')
    made.path.write_text(text.replace("e2e-span", NAME), encoding="utf-8")
    try:
        assert made.run("-y", "up", "--no-wait").exit_code == 0
        up = made.json("-y", "up", "--configure", "--hosts", "one")
        assert up.exit_code == 0, up.trouble()
        mac = mac_of(b.inside("virsh", "-c", FIRST, "dumpxml", f"{NAME}-two"))
        with member(place_of(b), mac, ADDRESS, 1450, lab=NAME) as there, listening(there):
            yield made
    finally:
        assert made.run("-y", "down").exit_code == 0


@contextmanager
def listening(there: list[str]) -> Iterator[None]:
    """Accept connections to port 22, as an sshd does that waits for the rest of a line."""
    server = subprocess.Popen([*there, "python3", "-c", _LISTEN])
    try:
        wait = "until ss -Htln | grep -q :22; do sleep 0.1; done"
        subprocess.run([*there, "sh", "-c", wait], check=True, timeout=30)
        yield
    finally:
        server.terminate()
        server.wait(10)


def sent(lab: SpanningLab) -> dict[str, Any]:
    (row,) = lab.json("--timeout", "60", "verify", "--hosts", "one").of(
        "path", "one", name="one -> two: full segments on lan"
    )
    return row


def test_what_gets_through_and_what_does_not(lab: SpanningLab, other: tuple[Path, FurtherHypervisor]) -> None:
    row = sent(lab)
    assert (row["status"], row["expected"], row["actual"]) == ("ok", "1450 bytes", "1450 bytes"), row
    with large_tcp_lost(other[1].inside):
        row = sent(lab)
        screen = lab.run("--timeout", "60", "verify", "--hosts", "one")
    broken = (
        "pings of 1450 bytes get to two, and TCP does not: the checksum offload between a and b is broken"
    )
    assert (row["status"], row["actual"]) == ("failed", "TCP is lost"), row
    device = device_of(NAME, "lan")
    assert row["why"] == f"one: {broken} (`ethtool -K eth0 tx off`; or on a: `ethtool -K {device} tx off`)"
    assert "the checksum offload between a and b is broken" in " ".join(screen.stdout.split()), screen.stdout
    assert sent(lab)["status"] == "ok"


def test_a_tunnel_that_takes_less_than_the_network_is_measured(lab: SpanningLab) -> None:
    device = device_of(NAME, "lan")
    with small_port(in_first, device, 1300):
        row = sent(lab)
    assert row["status"] == "failed", row
    # A bridge lets a VLAN tag more through than the port's MTU.
    what = "the MTU between a and b is too small for lan: 1304 of 1450 bytes get through"
    assert row["why"] == f"{what} (on a: `ip -d link show {device}`, and the ways to its peers)"
    assert sent(lab)["status"] == "ok"


def test_a_plan_says_in_short_where_each_host_is(lab: SpanningLab) -> None:
    plan = lab.run("plan")
    assert plan.exit_code == 0, plan.stdout
    first, second = plan.stdout.splitlines()[:2]
    assert first == "hypervisor a (lxc:///system): one (set in the lab file)"
    assert second.startswith("hypervisor b (qemu+ssh://")
    assert second.endswith("): two (set in the lab file)")


def test_the_power_switch_reaches_both_and_the_list_names_both(
    lab: SpanningLab, other: tuple[Path, FurtherHypervisor]
) -> None:
    def switched(action: str) -> dict[str, str]:
        # A restart waits until the hosts are ready, which a boot sector never is: that row is not asked for.
        rows = lab.json("--timeout", "5", action).of("machine")
        return {row["host"]: row["status"] for row in rows}

    def running() -> bool:
        return f"{NAME}-two" in other[1].inside("virsh", "-q", "-c", FIRST, "list", "--name")

    changed, same = dict.fromkeys(("one", "two"), "changed"), dict.fromkeys(("one", "two"), "ok")
    assert switched("stop") == changed
    assert not running()
    assert switched("stop") == same
    assert switched("start") == changed
    assert running()
    assert switched("start") == same
    assert switched("restart") == changed
    assert running()
    (listed,) = (each for each in lab.json("list").document["labs"] if each["name"] == NAME)
    assert listed["machines"] == {"one": "running"}
    assert listed["hypervisors"] == ["lxc:///system", other[1].uri]
    states = {host["name"]: host["state"] for host in lab.json("status").document["hosts"]}
    assert states == {"one": "running", "two": "running"}
