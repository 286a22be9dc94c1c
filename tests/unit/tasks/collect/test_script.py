"""What is asked of whom and when, and that a real shell runs it."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections import Counter
from ipaddress import ip_address
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from labrun.inventory.check_model import Match
from labrun.inventory.model import Address, Lab
from labrun.tasks.collect.capture import read_capture
from labrun.tasks.collect.check_script import check_probe
from labrun.tasks.collect.check_spec import CheckSpec
from labrun.tasks.collect.checks import CheckResult, read_check
from labrun.tasks.collect.collect_spec import CollectSpec, PingSpec, TraceSpec
from labrun.tasks.collect.schedule import ALL_PAIRS, collect_spec, seconds_for
from labrun.tasks.collect.script import collect_script
from labrun.tasks.guest.shell import Probe, gather_script, parse_facts
from tests.unit.small_labs import host, lab, network, two_networks

NEEDS = [tool for tool in ("sh", "ip", "ping", "awk") if shutil.which(tool) is None]


def star(networks: int, hosts_each: int) -> Lab:
    """One router in the middle, some networks around it, some hosts on each."""
    nets = [network(f"n{i}", f"10.0.{i}.0/24") for i in range(networks)]
    router = host("r", {net.name: f"10.0.{i}.254/24" for i, net in enumerate(nets)}, "router")
    others = [
        host(f"h{i}-{k}", {f"n{i}": f"10.0.{i}.{10 + k}/24"})
        for i in range(networks)
        for k in range(hosts_each)
    ]
    return lab(nets, [router, *others])


def test_a_small_lab_traces_every_pair() -> None:
    spec = collect_spec(two_networks(), "host01")
    assert [(each.to, str(each.address), each.hops) for each in spec.traces] == [
        ("host00", "172.16.0.254", 1),
        ("host02", "172.16.0.12", 1),
        ("host03", "172.17.0.11", 2),
        ("host04", "172.17.0.177", 2),
    ]
    assert spec.pings == ()


def test_a_large_lab_traces_one_target_per_network_and_pings_the_others() -> None:
    of = star(3, 5)
    assert len(of.hosts) > ALL_PAIRS
    spec = collect_spec(of, "h0-0")
    assert [each.to for each in spec.traces] == ["r", "h1-0", "h2-0"]
    assert Counter(each.like for each in spec.pings) == {"r": 4, "h1-0": 4, "h2-0": 4}


def test_hosts_known_to_be_down_are_left_out() -> None:
    spec = collect_spec(two_networks(), "host01", skip=["host03", "host00"])
    assert [each.to for each in spec.traces] == ["host02", "host04"]


def test_pairs_that_cannot_meet_are_pinged_to_prove_it() -> None:
    of = lab(
        [network("n1", "10.0.1.0/24"), network("n2", "10.0.2.0/24")],
        [host("a", {"n1": "10.0.1.5/24"}), host("b", {"n2": "10.0.2.5/24"})],
    )
    spec = collect_spec(of, "a")
    assert spec.traces == ()
    assert spec.pings == (PingSpec("b", ip_address("10.0.2.5")),)


def test_a_host_with_an_unknown_address_is_not_asked_for() -> None:
    of = lab(
        [network("n1", "10.0.1.0/24", "bridge")],
        [host("a", {"n1": "10.0.1.5/24"}), host("b", {"n1": "dhcp"})],
    )
    assert collect_spec(of, "a").traces == ()


@given(st.integers(1, 9), st.integers(1, 3))
def test_no_router_is_asked_for_more_than_it_answers(networks: int, hosts_each: int) -> None:
    of = star(networks, hosts_each)
    for source in of.hosts:
        traces = collect_spec(of, source).traces
        by_router = Counter(each.wave for each in traces if each.hops > 1 or each.to == "r")
        for wave in range(max(by_router, default=0) + 1):
            # Five at once, then one a second; a wave is a second.
            assert sum(count for number, count in by_router.items() if number <= wave) <= 5 + wave


def test_waves_are_seconds_apart_and_the_deadline_leaves_room() -> None:
    of = star(9, 1)
    spec = collect_spec(of, "h0-0")
    script = collect_script(spec, "M")
    last = max(each.wave for each in spec.traces)
    assert last == 4
    assert script.count("sleep 1\ntimed trace.") == last
    assert seconds_for(spec) > 60


@pytest.mark.parametrize("shape", [two_networks(), star(3, 5), star(1, 1)])
def test_the_script_is_posix_shell(shape: Lab) -> None:
    for name in shape.hosts:
        script = collect_script(collect_spec(shape, name), "M")
        done = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=False)
        assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("address", ["10.0.0.1; reboot", "$(reboot)", ""])
def test_only_an_address_can_stand_in_the_script(address: str) -> None:
    spec = CollectSpec(traces=(TraceSpec("b", cast(Address, address), 1),))
    with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
        collect_script(spec, "M")


@pytest.mark.skipif(bool(NEEDS), reason=f"this machine lacks {', '.join(NEEDS)}")
def test_a_real_shell_runs_it_on_loopback() -> None:
    near = ip_address("127.0.0.1")
    spec = CollectSpec(
        traces=(TraceSpec("near", near, 1), TraceSpec("nobody", ip_address("127.0.0.2"), 1)),
        pings=(PingSpec("near", near, "near"), PingSpec("gone", ip_address("0.0.0.1"))),
    )
    done = subprocess.run(
        ["sh", "-s"], input=collect_script(spec, "M"), text=True, capture_output=True, check=False, timeout=60
    )
    found = read_capture({"mark": "M", "spec": spec, "stdout": done.stdout})
    assert done.returncode == 0
    assert found.traces["near", 4].reached == 1
    assert found.pings["near", 4].reached
    assert not found.pings["gone", 4].reached
    assert found.forwards(4) is not None


@pytest.mark.skipif(bool(NEEDS), reason=f"this machine lacks {', '.join(NEEDS)}")
@pytest.mark.skipif(os.geteuid() != 0, reason="mounting takes root")
@pytest.mark.parametrize("options", ["ro", "size=4k,nr_inodes=64", "nr_inodes=1"])
def test_a_temporary_folder_without_room_costs_no_trace(options: str) -> None:
    near = ip_address("127.0.0.1")
    spec = CollectSpec(traces=(TraceSpec("near", near, 1),))
    mounted = f"mount -t tmpfs -o {options} none /tmp; printf '%08192d' 0 >/tmp/full; exec sh -s"
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mounted],
        input=collect_script(spec, "M"),
        text=True,
        capture_output=True,
        check=False,
        timeout=60,
    )
    found = read_capture({"mark": "M", "spec": spec, "stdout": done.stdout})
    assert found.traces["near", 4].reached == 1


def test_a_host_without_any_room_says_so() -> None:
    spec = CollectSpec(traces=(TraceSpec("near", ip_address("127.0.0.1"), 1),))
    script = collect_script(spec, "M").replace("mktemp -d", "false")
    done = subprocess.run(["sh", "-s"], input=script, text=True, capture_output=True, check=False)
    assert "M end" not in done.stdout
    assert done.stderr == "there is no room for a file in /tmp, /run, /dev/shm and /var/tmp\n"


def run_here(*checks: tuple[str, str, Match | None]) -> dict[str, CheckResult]:
    """Run exec checks in this machine's shell and return what comes of them."""
    specs = tuple(
        CheckSpec(name, "exec", command, None, None, "open", 0, (), {}, match, None, None)
        for name, command, match in checks
    )
    probe = check_probe(specs, has_room=False)
    assert probe is not None
    done = subprocess.run(
        ["sh", "-s"],
        input=gather_script([Probe(script=probe.script)], "M"),
        env={"PATH": os.environ["PATH"]},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    facts = parse_facts(done.stdout, "M")
    return {
        spec.name: read_check(spec, facts.commands.get(f"check {number}"), facts)
        for number, spec in enumerate(specs)
    }


def test_a_command_that_prints_a_lot_ends_as_it_would_alone() -> None:
    lines = "i=0; while [ $i -lt 20000 ]; do echo line $i; i=$((i + 1)); done"
    found = run_here(
        ("status", "head -c 3000000 /dev/zero | tr '\\0' x", None),
        ("within", lines, Match(contains="line 9999")),
        ("beyond", f"{lines}; echo needle", Match(contains="needle")),
        ("exactly", lines, Match(equals="line 0")),
        ("word", "head -c 300000 /dev/zero | tr '\\0' x", Match(regex="x{100}")),
    )
    assert {name: each.seen for name, each in found.items()} == {
        "status": "open",
        "within": "open",
        "beyond": "open",
        "exactly": "wrong",
        "word": "open",
    }
    found = run_here(("beyond", f"{lines}; {lines}; echo needle", Match(contains="needle")))
    assert (found["beyond"].seen, found["beyond"].why) == (
        "wrong",
        "there is more than 256 KiB, and it is not in the first of them",
    )
    found = run_here(("json", f"{lines}; {lines}", Match(json="a")))
    assert found["json"].why == "there is more than 256 KiB"


def test_many_commands_together_print_no_more_than_a_gather_takes() -> None:
    flood = "head -c 300000 /dev/zero | tr '\\0' x"
    found = run_here(*((f"{number}", flood, Match(contains="needle")) for number in range(40)))
    assert {each.why for each in found.values()} == {
        "there is more than 102 KiB, and it is not in the first of them"
    }


def test_a_command_that_fails_without_a_word_says_with_which_status() -> None:
    found = run_here(("silent", "test -e /nonexistent", None), ("loud", "echo oh >&2; exit 3", None))
    assert (found["silent"].actual, found["silent"].why) == (
        "exit 1",
        "it ended with status 1 and printed no error",
    )
    assert (found["loud"].actual, found["loud"].why) == ("exit 3", "oh")
