"""The catalogue: names, places, hints, and scripts that a shell takes."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest

from labrun.inventory.model import Lab
from labrun.runner.commands.faults.fault_state import Planted, forget, recall, remember
from labrun.state import LabState
from labrun.tasks.faults.catalogue import FAULTS, choose, possible
from labrun.tasks.faults.fault_sites import fault_sites
from labrun.tasks.faults.script import look_script, mend_script, plant_script
from labrun.tasks.guest.scripts import function, guest_script
from tests import places
from tests.unit.small_labs import dual_stack, host, lab, network, two_networks
from tests.unit.twin_lab import twins

ROOT = places.ROOT


def test_there_are_at_least_twenty_and_each_has_its_line_in_the_documentation() -> None:
    assert len(FAULTS) >= 20
    commands = (ROOT / "docs" / "commands.md").read_text(encoding="utf-8")
    listed = commands[commands.index("### break") : commands.index("### mend")]
    assert [name for name in FAULTS if f"`{name}`" not in listed] == []


# Twins under other names, and what has none: no IP version has a part in it, or the kernel knows it for one.
TWINS = {"ttl-one": "hop-limit-one-v6", "arp-filtered": "solicitations-drop"}
WITHOUT = {
    *("nic-down", "arp-off", "mtu-small", "nic-in-a-bridge", "sshd-stopped", "passwords-allowed"),
    *("forwarding-off-on-a-nic", "rp-filter"),
}

ONLY_SIX = {"disable-ipv6"}


def test_every_fault_has_a_twin_in_the_other_ip_version() -> None:
    four = {name for name, fault in FAULTS.items() if fault.version == 4}
    six = {name for name, fault in FAULTS.items() if fault.version == 6}
    assert {TWINS.get(name, f"{name}-v6") for name in four - WITHOUT} == six - ONLY_SIX
    assert four >= WITHOUT


@pytest.mark.parametrize("name", FAULTS)
def test_every_fault_has_a_place_in_the_example_and_says_where(name: str) -> None:
    found = possible(dual_stack(), name)
    assert found
    for fault, spot in found:
        texts = [fault.filled_in(text, spot) for text in (*fault.hints, fault.named)]
        assert all(texts)
        assert not any("{" in text for text in texts)
        assert fault.host(spot) not in texts[0] or fault.name == "forwarding-off-on-a-nic"


@pytest.mark.parametrize("name", FAULTS)
def test_the_script_is_posix_shell(name: str) -> None:
    fault, spot = possible(dual_stack(), name)[0]
    for script in (plant_script(fault, spot), mend_script(), look_script()):
        done = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


def test_shellcheck_finds_nothing_in_any_fault() -> None:
    parts = [guest_script("fault_state"), guest_script("fault_device"), guest_script("fault_commands")]
    for number, fault in enumerate(FAULTS.values()):
        parts.append(function(f"plant_{number}", fault.plant) + function(f"undo_{number}", fault.undo))
    # The site's words are assigned in front; a fault's lines are also printed for people.
    done = subprocess.run(
        ["shellcheck", "--shell=sh", "--exclude=SC2154,SC2034,SC2317", "-"],
        input="".join(parts),
        text=True,
        capture_output=True,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_spots_are_ways_over_a_router_of_the_lab() -> None:
    found = fault_sites(two_networks())
    assert [(spot.source, spot.router, spot.target) for spot in found] == [
        ("host01", "host00", "host03"),
        ("host01", "host00", "host04"),
        ("host02", "host00", "host03"),
        ("host02", "host00", "host04"),
        ("host03", "host00", "host01"),
        ("host03", "host00", "host02"),
        ("host04", "host00", "host01"),
        ("host04", "host00", "host02"),
    ]
    words: Mapping[str, str] = found[0].words
    assert {
        key: words[key] for key in ("own", "gw", "goal", "far", "far_net", "other", "wide", "narrow")
    } == {
        "own": "172.16.0.11",
        "gw": "172.16.0.254",
        "goal": "default",
        "far": "172.17.0.11",
        "far_net": "172.17.0.0/24",
        "other": "172.16.0.12",
        "wide": "15",
        "narrow": "25",
    }
    assert not found[0].is_first_nic
    assert found[-1].words["wide"] == "", "a lease would put it right"


def test_over_ipv6_there_are_spots_where_both_ends_have_it() -> None:
    found = [spot for spot in fault_sites(dual_stack()) if spot.version == 6]
    assert [(spot.source, spot.router, spot.target) for spot in found] == [
        ("host01", "host00", "host03"),
        ("host02", "host00", "host03"),
        ("host03", "host00", "host01"),
        ("host03", "host00", "host02"),
    ]
    words = found[0].words
    assert {key: words[key] for key in ("own", "gw", "goal", "far", "other", "wide", "narrow")} == {
        "own": "fd00:16::11",
        "gw": "fd00:16::fe",
        "goal": "default",
        "far": "fd00:17::11",
        "other": "fd00:16::12",
        "wide": "31",
        "narrow": "121",
    }


def test_a_fault_of_ipv6_has_no_place_in_a_lab_without() -> None:
    assert {fault.version for fault, _ in possible(two_networks())} == {4}
    assert {fault.version for fault, _ in possible(dual_stack())} == {4, 6}


def without_router() -> Lab:
    return lab(
        [network("n1", "10.0.1.0/24")], [host("a", {"n1": "10.0.1.5/24"}), host("b", {"n1": "10.0.1.6/24"})]
    )


def test_a_lab_without_a_router_has_no_place() -> None:
    assert possible(without_router()) == []


def test_a_seed_chooses_the_same_again_and_others_choose_others() -> None:
    found = possible(dual_stack())
    chosen = {seed: choose(found, seed)[0].name for seed in range(1000)}
    assert {seed: choose(found, seed)[0].name for seed in range(1000)} == chosen
    assert set(chosen.values()) == set(FAULTS)


def test_hosts_limit_the_choice() -> None:
    found = possible(two_networks(), hosts=["host00"])
    assert {fault.host(spot) for fault, spot in found} == {"host00"}
    assert {fault.at for fault, _ in found} == {"router"}


def test_what_is_planted_is_remembered_and_cannot_be_read_at_a_glance(tmp_path: Path) -> None:
    state = LabState.open("small", "test:///default", tmp_path)
    assert recall(state) is None
    planted = Planted("arp-off", "host00", ("vague", "nearer", "plain", "It is arp-off."))
    remember(state, planted)
    assert recall(state) == planted
    text = (state.root / "fault").read_text()
    assert "arp" not in text
    assert "host00" not in text
    for given in (1, 2, 3, 4, 4):
        planted = planted.next_hint()
        assert planted.given == given
    forget(state)
    forget(state)
    assert recall(state) is None
    remember(state, planted)
    state.remove()
    assert not state.root.exists(), "down takes it along"


@pytest.mark.parametrize("text", ["", "not base64!", "aGVsbG8="])
def test_a_damaged_memory_is_none(tmp_path: Path, text: str) -> None:
    state = LabState.open("small", "test:///default", tmp_path)
    (state.root / "fault").write_text(text)
    assert recall(state) is None


def test_no_fault_is_planted_where_a_second_nic_would_make_up_for_it() -> None:
    assert {name for site in fault_sites(twins()) for name in (site.source, site.target)} == {"w", "x"}
