"""Machines that labrun did not make: their NICs, their profiles, and the way to them without libvirt."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from ipaddress import ip_interface
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from labrun.errors import LabFileError
from labrun.inventory.file.load import load_lab
from labrun.inventory.hosts.locate import locate
from labrun.inventory.hosts.unmanaged import marked_nic, marks_of, reached_at
from labrun.inventory.model import Lab, Mode
from labrun.outcome import Status
from labrun.tasks.collect.capture import Capture, Unreachable
from labrun.tasks.collect.judge import judge
from labrun.tasks.collect.unmanaged import with_seen_macs
from labrun.tasks.configure.nmcli import Nmcli
from labrun.tasks.configure.plan import SectionPlan
from labrun.tasks.configure.sshd_profiles import desired_sshd
from labrun.tasks.guest.facts.links import Link, LinkAddress, nics_by_mac
from labrun.tasks.guest.shell import Captured, Facts
from tests.unit.command_line import run_labrun
from tests.unit.tasks.configure.test_cases import facts_of, spec_of

LAB = """\
name: office
networks:
  lan: {cidr: 192.0.2.0/24, cidr6: "2001:db8::/64"}
  lab: {cidr: 10.6.1.0/24}
hosts:
  gate: {address: 192.0.2.1, role: router, networks: {lan: 192.0.2.1, lab: 10.6.1.1}}
  one: {address: 192.0.2.7, networks: {lan: dhcp, lab: 10.6.1.7}}
  two: {address: two.example.org, networks: {lan: dhcp, lab: {ipv4: 10.6.1.8, mac: 52:54:00:00:00:08}}}
"""
MADE = "  new: {networks: {lab: dhcp}}\n"


def lab_of(tmp_path: Path, text: str = LAB) -> Lab:
    """Load a lab file of this text."""
    (tmp_path / "lab.yaml").write_text(dedent(text), encoding="utf-8")
    return load_lab(tmp_path / "lab.yaml")


# --- the lab file ---------------------------------------------------------------------------------


def test_a_lab_of_existing_machines_has_no_hypervisor(tmp_path: Path) -> None:
    lab = lab_of(tmp_path)
    assert not lab.needs_hypervisor
    assert lab.notices == ()
    # So the first address of a subnet is free, and the LAN's own router can have it.
    assert [(net.mode, net.hypervisor4, net.dhcp) for net in lab.networks.values()] == [
        (Mode.VERY_ISOLATED, None, None)
    ] * 2


def test_a_network_whose_mode_is_written_keeps_it(tmp_path: Path) -> None:
    text = LAB.replace("lab: {cidr", "lab: {mode: nat, cidr").replace("10.6.1.1}", "10.6.1.2}")
    network = lab_of(tmp_path, text).networks["lab"]
    assert (network.mode, str(network.hypervisor4)) == (Mode.NAT, "10.6.1.1/24")


def test_beside_a_machine_to_make_networks_are_the_hypervisor_s(tmp_path: Path) -> None:
    with pytest.raises(LabFileError) as caught:
        lab_of(tmp_path, LAB + MADE)
    assert "10.6.1.1 is the hypervisor's address on the network lab" in caught.value.reason
    lab = lab_of(tmp_path, LAB.replace("10.6.1.1}", "10.6.1.2}").replace("lan: 192.0.2.1,", "") + MADE)
    assert lab.needs_hypervisor
    assert lab.networks["lab"].mode is Mode.ISOLATED


def test_macs_and_dhcp_addresses_of_existing_machines_are_not_made_up(tmp_path: Path) -> None:
    lab = lab_of(tmp_path)
    nics = {host.name: [(nic.mac, nic.ipv4) for nic in host.interfaces] for host in lab.hosts.values()}
    assert nics["one"] == [("", ip_interface("192.0.2.7/24")), ("", ip_interface("10.6.1.7/24"))]
    assert nics["two"] == [("", None), ("52:54:00:00:00:08", ip_interface("10.6.1.8/24"))]
    assert lab.hosts["two"].interfaces[0].dhcp


def test_an_address_that_an_existing_machine_answers_at_is_used(tmp_path: Path) -> None:
    text = LAB.replace("gate: {address: 192.0.2.1,", "gate: {address: 192.0.2.7,")
    with pytest.raises(LabFileError) as caught:
        lab_of(tmp_path, text.replace("lan: 192.0.2.1", "lan: 192.0.2.7"))
    assert "192.0.2.7 is used twice (gate has it in line 6)" in caught.value.reason


def test_nobody_is_asked_where_existing_machines_are(tmp_path: Path) -> None:
    class Nobody:
        def leases(self, networks: object) -> tuple[()]:
            raise AssertionError("asked")

    located = locate(lab_of(tmp_path), Nobody())
    assert {name: each.address for name, each in located.items()} == {
        "gate": "192.0.2.1",
        "one": "192.0.2.7",
        "two": "two.example.org",
    }
    assert {net: str(address) for net, address in located["one"].addresses.items()} == {
        "lan": "192.0.2.7",
        "lab": "10.6.1.7",
    }


# --- which NIC ------------------------------------------------------------------------------------


def test_a_nic_is_known_by_its_addresses_the_surest_first(tmp_path: Path) -> None:
    lab = lab_of(tmp_path)
    one, two = lab.hosts["one"], lab.hosts["two"]
    assert marks_of(one, one.interfaces[0], lab.networks["lan"]) == [
        "192.0.2.7/32",
        "192.0.2.0/24",
        "2001:db8::/64",
    ]
    assert marks_of(two, two.interfaces[0], lab.networks["lan"]) == ["192.0.2.0/24", "2001:db8::/64"]
    assert (str(reached_at(one)), reached_at(two)) == ("192.0.2.7", None)


@pytest.mark.parametrize(
    ("shown", "found"),
    [
        ({"eth0": ["192.0.2.7/24"], "eth1": ["192.0.2.9/24"]}, "eth0"),
        ({"eth0": ["192.0.2.9/24"], "eth1": ["10.6.1.7/24"]}, "eth0"),
        ({"eth0": ["192.0.2.9/24"], "eth1": ["192.0.2.10/24"]}, None),
        ({"eth0": ["192.0.2.9/24"], "eth1": ["192.0.2.10/24", "2001:db8::1/64"]}, "eth1"),
        ({"eth0": []}, None),
    ],
    ids=["the address", "the subnet", "two in the subnet", "the other subnet", "none"],
)
def test_the_first_telling_mark_points_at_the_nic(shown: Mapping[str, list[str]], found: str | None) -> None:
    marks = ["192.0.2.7/32", "192.0.2.0/24", "2001:db8::/64"]
    given = {name: [ip_interface(each) for each in addresses] for name, addresses in shown.items()}
    assert marked_nic(marks, given) == found


def capture(**links: str) -> Capture:
    """Make what a host with these NICs shows; each is called by its MAC's last digits."""
    made = {}
    for name, address in links.items():
        mac = f"52:54:00:00:00:{name[-2:]}"
        made[mac] = Link(name, mac, held=(LinkAddress(ip_interface(address)),))
    return Capture(links=made, routes=(), facts=Facts())


def test_verify_takes_the_mac_from_what_the_machine_shows(tmp_path: Path) -> None:
    lab = lab_of(tmp_path)
    captures: dict[str, Capture | Unreachable] = {"one": capture(eth01="10.6.1.7/24", eth02="192.0.2.7/24")}
    seen = with_seen_macs(lab, captures)
    assert [nic.mac for nic in seen.hosts["one"].interfaces] == ["52:54:00:00:00:02", "52:54:00:00:00:01"]
    assert seen.hosts["two"] == lab.hosts["two"]
    assert with_seen_macs(lab, {}) is lab
    rows = [row for row in judge(lab, captures, ["one"]) if row.section == "address"]
    assert [(row.name, row.status, row.actual) for row in rows] == [
        ("lan", Status.OK, "192.0.2.7/24"),
        ("lab", Status.OK, "10.6.1.7/24"),
    ]


@pytest.mark.parametrize("host", ["one", "two"])
@pytest.mark.parametrize("kind", ["bridge", "bond"])
def test_a_bridge_or_bond_may_be_what_an_existing_machine_has_on_a_network(
    tmp_path: Path, host: str, kind: str
) -> None:
    lab = lab_of(tmp_path)
    mac, address = (
        "52:54:00:00:00:08",
        LinkAddress(ip_interface("10.6.1.8/24" if host == "two" else "10.6.1.7/24")),
    )
    port = Link("eth1", mac, kind="", port_of="over0")
    over = Link("over0", mac, kind=kind, held=(address,))
    own = Link("eth0", "52:54:00:00:00:01", held=(LinkAddress(ip_interface("192.0.2.7/24")),))
    devices = (own, port, over)
    found = Capture(links=nics_by_mac(devices), devices=devices, routes=(), facts=Facts())
    rows = {row.name: row for row in judge(lab, {host: found}, [host]) if row.section == "address"}
    assert (rows["lab"].status, rows["lab"].why or None) == (Status.OK, None)


def test_a_nic_that_nothing_tells_apart_is_said_so(tmp_path: Path) -> None:
    lab = lab_of(tmp_path)
    (_, row) = [
        row for row in judge(lab, {"one": capture(eth01="192.0.2.7/24")}, ["one"]) if row.section == "address"
    ]
    assert (row.status, row.actual, row.why) == (
        Status.FAILED,
        "absent",
        "no NIC of one has an address of lab, and no `mac` is named",
    )


def test_a_host_of_which_the_file_says_nothing_has_a_row_all_the_same(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, "name: bare\nhosts: {box: {address: 192.0.2.9, sshd: false}}\n")
    (row,) = judge(lab, {"box": Capture(links={}, routes=(), facts=Facts())})
    assert (row.host, row.status, row.why) == (
        "box",
        Status.SKIPPED,
        "the lab file declares nothing to verify here",
    )
    (row,) = judge(lab, {"box": Unreachable("it is off")})
    assert (row.host, row.status, row.why) == ("box", Status.UNREACHABLE, "it is off")


# --- configure ------------------------------------------------------------------------------------


def spec(**changes: Any) -> dict[str, Any]:
    """Return the recorded host's wanted profile, as of an existing machine without a MAC in the file."""
    wanted: dict[str, Any] = spec_of("host-configured")["sections"]["nmcli"]
    known = {"mac": "", "existing": True, "marks": ["10.5.1.11/32"], "reached_at": "10.5.1.11"}
    wanted["profiles"][0] |= {**known, **changes}
    return wanted


def plan(wanted: Mapping[str, Any], files: Mapping[str, str] | None = None) -> SectionPlan:
    facts = facts_of("host-configured")
    return Nmcli().plan(wanted, facts if files is None else replace(facts, files=files))


def test_a_configured_machine_is_found_by_its_address_and_needs_nothing() -> None:
    (item,) = plan(spec()).items
    assert (item.state, item.why) == ("ok", None)


def test_a_mac_in_the_file_is_believed_before_any_address() -> None:
    (item,) = plan(spec(mac="02:00:00:00:00:99")).items
    assert (item.state, item.why) == ("refused", "no NIC here has the MAC 02:00:00:00:00:99")


def test_a_machine_without_such_an_address_is_asked_for_its_mac() -> None:
    (item,) = plan(spec(marks=["10.9.9.0/24"])).items
    assert (item.state, item.why) == (
        "refused",
        "no single NIC here has an address of this network: name its `mac`",
    )


def test_one_nic_gets_no_two_profiles() -> None:
    wanted = spec()
    wanted["profiles"].append({**wanted["profiles"][0], "network": "n2"})
    assert [(item.name, item.state, item.why) for item in plan(wanted).items] == [
        ("n1", "ok", None),
        ("n2", "refused", "eth0 is the NIC of n1 already"),
    ]


def moved(address: str, **changes: str) -> dict[str, Any]:
    """Return the wanted profile with another address."""
    settings = spec()["profiles"][0]["settings"]
    return {**settings, "ipv4": {**settings["ipv4"], "address1": address, **changes}}


def test_the_address_that_labrun_came_in_by_is_never_taken_away() -> None:
    done = plan(spec(settings=moved("10.5.1.12/24")))
    (item,) = done.items
    assert item.state == "refused"
    assert item.why == (
        "labrun reaches this machine at 10.5.1.11, which the profile would remove from eth0:"
        " `address` and `networks` must agree"
    )
    assert done.apply == ""
    (item,) = plan(spec(settings=moved("10.5.1.12/24"), reached_at="192.0.2.9")).items
    assert item.state == "change"


@pytest.mark.parametrize(
    ("came", "why"),
    [
        ("10.5.1.1 40000 10.5.1.11 22", None),
        (
            "192.0.2.3 40000 10.5.1.11 22",
            "labrun connects from 192.0.2.3 over the route default via 10.5.1.254",
        ),
        ("10.5.1.1 40000 10.5.1.13 22", None),
        ("", None),
    ],
    ids=["same network", "through the gateway", "an address that is elsewhere", "not told"],
)
def test_the_way_back_to_labrun_is_never_taken_away(came: str, why: str | None) -> None:
    settings = moved("10.5.1.11/24")
    del settings["ipv4"]["gateway"]
    facts = facts_of("host-configured")
    told = replace(facts, commands={**facts.commands, "came": Captured(came, 0)})
    (item,) = Nmcli().plan(spec(settings=settings), told).items
    assert item.state == ("refused" if why else "change")
    assert why is None or item.why == (
        f"{why}, which the profile would remove from eth0: name it as `gateway` or in `routes`"
    )
    (item,) = Nmcli().plan(spec(), told).items
    assert item.state == "ok"


def test_the_address_of_the_session_counts_where_the_file_has_a_name_or_a_forwarded_address() -> None:
    facts = facts_of("host-configured")
    told = replace(facts, commands={**facts.commands, "came": Captured("10.5.1.1 40000 10.5.1.11 22\n", 0)})
    (item,) = Nmcli().plan(spec(settings=moved("10.5.1.12/24"), reached_at=None), told).items
    assert item.why is not None
    assert item.why.startswith("labrun reaches this machine at 10.5.1.11, which")


def test_name_servers_that_the_file_does_not_name_stay() -> None:
    settings = moved("10.5.1.11/24")
    del settings["ipv4"]["dns"]
    (item,) = plan(spec(settings=settings)).items
    assert (item.state, item.diff) == ("ok", None)
    (item,) = plan(spec(settings=settings, existing=False, mac=mac_of_the_recorded_nic())).items
    assert item.diff == "-ipv4.dns: 10.5.1.1"


def mac_of_the_recorded_nic() -> str:
    mac: str = spec_of("host-configured")["sections"]["nmcli"]["profiles"][0]["mac"]
    return mac


def test_profiles_of_another_lab_file_give_way_on_this_nic_and_stay_on_others() -> None:
    files = dict(facts_of("host-configured").files)
    path = next(path for path in files if "/labrun-" in path)
    folder = path.rpartition("/")[0]
    files[f"{folder}/labrun-other.nmconnection"] = files[path]
    files[f"{folder}/labrun-far.nmconnection"] = "[ethernet]\nmac-address=02:00:00:00:00:77\n"
    done = plan(spec(), files)
    assert [(item.name, item.state) for item in done.items] == [("n1", "change")]
    assert f"rm -f {folder}/labrun-other.nmconnection" in done.apply
    assert "labrun-far" not in done.apply


def test_a_machine_without_networks_in_the_file_keeps_all_its_profiles(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, "name: bare\nhosts: {box: {address: 192.0.2.9}}\n")
    assert Nmcli().desired(lab, lab.hosts["box"]) is None


def test_without_a_mac_the_explanation_leaves_the_nic_to_the_reader(tmp_path: Path) -> None:
    lab = lab_of(tmp_path)
    wanted = Nmcli().desired(lab, lab.hosts["two"])
    assert wanted is not None
    first, _, second, _ = Nmcli().explain(wanted)
    assert "ifname NIC con-name labrun-lan" in first
    assert "mac-address" not in first
    assert "ifname '*' con-name labrun-lab" in second


@pytest.mark.parametrize(("user", "login"), [("root", "prohibit-password"), ("ann", "no")])
def test_hardening_does_not_lock_out_the_account_that_labrun_uses(
    user: str, login: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab = lab_of(tmp_path, "name: bare\nhosts: {box: {address: 192.0.2.9}}\n")
    monkeypatch.setenv("LOGNAME", user)
    settings = {setting.key: setting.values for setting in desired_sshd(lab, lab.hosts["box"]) or ()}
    assert settings["permitrootlogin"] == (login,)


# --- the commands ---------------------------------------------------------------------------------


@pytest.mark.parametrize("verb", ["up", "plan", "start", "stop", "restart", "down"])
def test_commands_for_machines_skip_existing_ones_without_libvirt(verb: str, tmp_path: Path) -> None:
    lab_of(tmp_path)
    for name in ("libvirt", "libvirt_qemu"):
        (tmp_path / f"{name}.py").write_text("raise AssertionError('libvirt was asked for')\n")
    done = run_labrun(
        "--json",
        verb,
        "--state-dir",
        "state",
        "--hosts",
        "one,two",
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
    )
    document = json.loads(done.stdout)
    assert (done.returncode, done.stderr) == (0, "")
    assert [(row["host"], row["status"], row["why"]) for row in document["results"]] == [
        (host, "skipped", "an existing machine is never provisioned") for host in ("one", "two")
    ]


def test_there_is_nothing_to_explain_and_nothing_to_remove(tmp_path: Path) -> None:
    lab_of(tmp_path)
    said = run_labrun("up", "--explain", "--state-dir", "state", cwd=tmp_path)
    assert said.stdout == "# office: no hypervisor: every host is an existing machine\n"
    assert run_labrun("-y", "down", "--state-dir", "state", cwd=tmp_path).returncode == 0
    assert [path.name for path in (tmp_path / "state").iterdir()] == ["history"]


def test_the_nornir_plugin_asks_no_hypervisor(tmp_path: Path) -> None:
    lab_of(tmp_path)
    (tmp_path / "libvirt.py").write_text("raise AssertionError('libvirt was asked for')\n")
    script = (
        "from nornir import InitNornir\n"
        "nornir = InitNornir(inventory={'plugin': 'labrun'}, logging={'enabled': False})\n"
        "print({name: host.hostname for name, host in nornir.inventory.hosts.items()})\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "{'gate': '192.0.2.1', 'one': '192.0.2.7', 'two': 'two.example.org'}\n"


TWO_OF_ONE_NETWORK = """\
name: demo
networks: {n: {cidr: 192.0.2.0/24}}
hosts:
  old:
    address: 192.0.2.7
    networks: {n: 192.0.2.7, n2: {network: n, ipv4: 192.0.2.8}, n3: {network: n, ipv4: dhcp, mac: MAC}}
"""


def test_of_two_nics_on_a_network_each_is_known_by_its_own_address_alone(tmp_path: Path) -> None:
    lab = lab_of(tmp_path, TWO_OF_ONE_NETWORK.replace("MAC", '"02:00:00:00:00:03"'))
    old = lab.hosts["old"]
    marks = [marks_of(old, nic, lab.networks["n"]) for nic in old.interfaces]
    assert marks == [["192.0.2.7/32"], ["192.0.2.8/32"], []]
    shown = {"eth0": [ip_interface("192.0.2.7/24")], "eth1": [ip_interface("192.0.2.9/24")]}
    assert [marked_nic(each, shown) for each in marks] == ["eth0", None, None]
    # Nothing says that the address of the file is this one's.
    assert old.interfaces[2].ipv4 is None
