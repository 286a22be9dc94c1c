"""Kernel values with several keys: whichever file sets one of them last decides at boot, and is named."""

from __future__ import annotations

import pytest

from labrun.inventory.kernel_values import path_of
from labrun.tasks.configure.sysctl import DROP_IN, Sysctl
from labrun.tasks.guest.facts.sysctl import set_along, winner
from labrun.tasks.guest.shell import Facts
from labrun.tasks.state.item import Item

LATER, EARLIER = "/etc/sysctl.d/99-hardening.conf", "/etc/sysctl.d/10-a.conf"
FORWARD = "net/ipv4/ip_forward"

# Each declared key, with one that sets the same value.
ALIASES = [
    ("net.ipv4.ip_forward", "net.ipv4.conf.all.forwarding"),
    ("net.ipv4.ip_forward", "net/ipv4/conf/all/forwarding"),
    ("net.ipv4.ip_forward", "net/ipv4/ip_forward"),
    ("net.ipv4.ip_forward", "net.ipv4.conf.*.forwarding"),
    ("net/ipv4/ip_forward", "net.ipv4.conf.all.forwarding"),
    ("net.ipv4.conf.all.forwarding", "net.ipv4.ip_forward"),
    ("net.ipv4.conf.default.forwarding", "net.ipv4.ip_forward"),
    ("net.ipv4.conf.default.forwarding", "net.ipv4.conf.all.forwarding"),
    ("net.ipv4.conf.eth0/100.forwarding", "net.ipv4.ip_forward"),
    ("net.ipv6.conf.all.forwarding", "net/ipv6/conf/all/forwarding"),
    ("net.ipv6.conf.default.forwarding", "net.ipv6.conf.all.forwarding"),
    ("net.ipv6.conf.eth0.forwarding", "net.ipv6.conf.all.forwarding"),
    ("net.ipv6.conf.eth0.disable_ipv6", "net.ipv6.conf.all.disable_ipv6"),
    ("net.ipv6.conf.eth0.addr_gen_mode", "net.ipv6.conf.all.addr_gen_mode"),
    ("net.ipv6.conf.eth0.ignore_routes_with_linkdown", "net.ipv6.conf.all.ignore_routes_with_linkdown"),
    ("net.netfilter.nf_conntrack_max", "net.nf_conntrack_max"),
    ("net.nf_conntrack_max", "net.netfilter.nf_conntrack_max"),
    ("vm.nr_hugepages", "vm.nr_hugepages_mempolicy"),
    ("fs.inotify.max_user_instances", "user.max_inotify_instances"),
    ("fs.inotify.max_user_watches", "user.max_inotify_watches"),
    ("fs.fanotify.max_user_groups", "user.max_fanotify_groups"),
    ("user.max_fanotify_marks", "fs.fanotify.max_user_marks"),
]
UNRELATED = [
    ("net.ipv4.ip_forward", "net.ipv4.conf.default.forwarding"),
    ("net.ipv4.ip_forward", "net.ipv4.conf.eth0.forwarding"),
    ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding"),
    ("net.ipv4.conf.eth0.rp_filter", "net.ipv4.conf.all.rp_filter"),
    ("net.ipv6.conf.all.forwarding", "net.ipv6.conf.default.forwarding"),
    ("net.ipv6.conf.eth0.accept_ra", "net.ipv6.conf.all.accept_ra"),
]


def item(key: str, files: dict[str, str], running: str = "1") -> Item:
    path = f"/proc/sys/{path_of(key)}"
    facts = Facts({path: f"{running}\n", **files}, {}, frozenset({f"writable {path}"}))
    (found,) = Sysctl().plan({"values": {key: "1"}}, facts).items
    return found


@pytest.mark.parametrize(("key", "alias"), ALIASES)
def test_a_later_file_with_another_key_of_the_same_value_decides_and_is_named(key: str, alias: str) -> None:
    files = {LATER: f"{alias} = 0\n"}
    after = item(key, {**files, DROP_IN: f"{key} = 1\n"})
    assert (after.state, after.actual) == ("refused", "1 (0 after a reboot)")
    spelled = key if path_of(alias) == path_of(key) else alias.replace("/", ".")
    assert after.why == f"{LATER} sets {spelled} = 0 and is read after {DROP_IN}"
    before = item(key, files, running="0")
    # The guard would take another reason for what has cost labrun its sight of the row.
    assert (before.state, before.why) == ("change", after.why)


@pytest.mark.parametrize(("key", "alias"), ALIASES)
def test_an_earlier_file_with_another_key_does_not_count(key: str, alias: str) -> None:
    assert item(key, {EARLIER: f"{alias} = 0\n", DROP_IN: f"{key} = 1\n"}).state == "ok"
    # A key that is given again with the same value keeps its place.
    twice = {"/etc/sysctl.d/05-b.conf": f"{key} = 1\n", EARLIER: f"{alias} = 0\n", DROP_IN: f"{key} = 1\n"}
    same = path_of(alias) == path_of(key)
    assert item(key, twice).state == ("ok" if same else "refused")


@pytest.mark.parametrize(("key", "other"), UNRELATED)
def test_a_key_of_another_value_does_not_count(key: str, other: str) -> None:
    assert item(key, {LATER: f"{other} = 0\n", DROP_IN: f"{key} = 1\n"}).state == "ok"


def test_a_pattern_gives_way_to_a_key_written_out_and_one_that_is_exempt() -> None:
    files = {DROP_IN: "net.ipv4.ip_forward = 1\n", LATER: "net.ipv4.conf.*.forwarding = 0\n"}
    files[EARLIER] = "-net.ipv4.conf.all.forwarding\n"
    assert item("net.ipv4.ip_forward", files).state == "ok"
    files[EARLIER] = "net.ipv4.conf.all.forwarding = 0\n"
    found = winner(FORWARD, files)
    assert found is not None
    assert (found.value, found.file) == ("1", DROP_IN)


def test_two_keys_of_one_value_cannot_be_declared_otherwise() -> None:
    values = {"net.ipv4.ip_forward": "1", "net.ipv4.conf.all.forwarding": "0"}
    paths = {f"/proc/sys/{path_of(key)}" for key in values}
    facts = Facts(dict.fromkeys(paths, "0\n"), {}, frozenset(f"writable {path}" for path in paths))
    plan = Sysctl().plan({"values": values}, facts)
    assert plan.apply == ""
    assert {each.name: each.refused for each in plan.items} == {
        "net.ipv4.ip_forward": "the lab file gives net.ipv4.conf.all.forwarding as 0: it is the same value",
        "net.ipv4.conf.all.forwarding": "the lab file gives net.ipv4.ip_forward as 1: it is the same value",
    }


def test_what_is_set_along_is_not_the_key_itself() -> None:
    assert set_along("net/ipv4/ip_forward") == {"net/ipv4/conf/all/forwarding"}
    assert set_along("net/ipv6/conf/all/forwarding") == set()
    assert set_along("kernel/pid_max") == set()
