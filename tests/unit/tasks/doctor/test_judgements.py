"""The checks' judgements of facts that no test can make true here, and how findings are shown."""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import replace
from pathlib import PurePosixPath
from typing import Any

import pytest

from labrun.connection_hints import User
from labrun.outcome import Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.views.findings import render
from labrun.tasks.doctor.catalogue import CHECKS, examine
from labrun.tasks.doctor.libvirt_checks import check_kvm, check_libvirt, check_python, check_rights
from labrun.tasks.doctor.limit_checks import check_clock
from labrun.tasks.doctor.model import Clock, Facts, Finding, ForwardChain, Kvm, LibvirtSide, Space
from labrun.tasks.provision.kvm_probe import KvmVerdict

ROOT = User("root", is_root=True)
QEMU = LibvirtSide("qemu:///system", (9, 0, 0))
LXC = LibvirtSide("lxc:///system", (9, 0, 0))
DEAD = LibvirtSide("lxc:///system", error="cannot open lxc:///system: no", hint="systemctl start libvirtd")
WORKS = KvmVerdict(True, "a guest ran 64-bit code")
WELL = Facts(
    None,
    "qemu:///system",
    True,
    ROOT,
    (QEMU, LXC),
    Kvm(True, "vmx", WORKS),
    "12.8.0",
    kernel={
        "fs.inotify.max_user_instances": "8192",
        "kernel.keys.maxkeys": "20000",
        "net.ipv4.ip_forward": "1",
    },
    memory=8 * 2**30,
    spaces=(Space(PurePosixPath("/var/lib/labrun"), 50 * 2**30, "VMs"),),
    programs=dict.fromkeys(
        (
            *("mmdebstrap", "mke2fs", "mcopy", "mkfs.fat", "sfdisk", "grub-mkimage", "qemu-img"),
            *("ssh", "ip", "nft", "nsenter", "tc", "tcpdump", "dnsmasq", "apt-get"),
        ),
        "/usr/bin/x",
    ),
    clock=Clock(is_synchronised=True, most_off=0.05),
)


def test_a_machine_that_is_well() -> None:
    assert {each.status for each in examine(WELL)} == {Status.OK}


def test_of_another_machine_only_what_libvirt_says_is_judged() -> None:
    found = examine(replace(WELL, is_here=False))
    skipped = {each.name for each in found if each.status is Status.SKIPPED}
    assert skipped == {check.name for check in CHECKS if check.only_here}
    assert {each.name for each in found} - skipped == {"libvirt", "python", "kvm", "subnets"}


def with_kvm(why: str, **kvm: Any) -> Facts:
    verdict = KvmVerdict(False, why)
    return replace(WELL, kvm=replace(WELL.kvm, verdict=verdict, **kvm))


ABORTS = (
    "a guest does not start: internal error: process exited while connecting to monitor: "
    "2026-11-30T07:32:32.456190Z qemu-system-x86_64: error: failed to set MSR 0x10a to 0x69\n"
    "qemu-system-x86_64: ../../target/i386/kvm/kvm.c:3183: kvm_buf_set_msrs: Assertion `ret == n' failed."
)


@pytest.mark.parametrize(
    ("facts", "reason", "mend"),
    [
        (
            with_kvm("libvirt offers no KVM here", flag=""),
            "libvirt offers no KVM here",
            "turn on virtualisation",
        ),
        (
            with_kvm("libvirt offers no KVM here", has_device=False, flag="svm"),
            "libvirt offers no KVM here",
            "sudo modprobe kvm_amd",
        ),
        (
            with_kvm("libvirt offers no KVM here"),
            "libvirt offers no KVM here",
            "sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm && sudo systemctl restart libvirtd",
        ),
        (
            with_kvm(ABORTS.replace("\\\n", " ")),
            "a guest does not start: failed to set MSR 0x10a to 0x69",
            "none here: the outer machine must offer nested virtualisation that works",
        ),
    ],
)
def test_kvm_that_does_not_work_has_one_sentence_and_a_remedy(facts: Facts, reason: str, mend: str) -> None:
    (finding,) = check_kvm(facts)
    assert finding.status is Status.WARNING
    assert finding.what == f"KVM does not work here: {reason}; containers are used, VMs are emulated"
    assert finding.mend.startswith(mend)


@pytest.mark.parametrize(
    ("sides", "found"),
    [
        ((QEMU, LXC), [("ok", "libvirt 9.0.0, qemu:///system and lxc:///system answer")]),
        ((QEMU, DEAD), [("warning", DEAD.error), ("ok", "libvirt 9.0.0, qemu:///system answers")]),
        ((DEAD,), [("failed", DEAD.error)]),
        (
            (replace(QEMU, library=(7, 6, 0)),),
            [("warning", "libvirt 7.6.0, qemu:///system answers; labrun is tried with 9.0.0 and newer")],
        ),
    ],
)
def test_libvirt(sides: tuple[LibvirtSide, ...], found: list[tuple[str, str]]) -> None:
    assert [(each.status, each.what) for each in check_libvirt(replace(WELL, libvirt=sides))] == found


@pytest.mark.parametrize(
    ("user", "status", "mend"),
    [
        (User("ann", is_root=False), "failed", "sudo usermod -aG libvirt ann, then log in again"),
        (User("ann", is_root=False, account_is_in=True), "failed", "newgrp libvirt"),
        (User("ann", is_root=False, account_is_in=True, session_is_in=True), "warning", "sudo labrun"),
        (ROOT, "ok", ""),
    ],
)
def test_rights(user: User, status: str, mend: str) -> None:
    (finding,) = check_rights(replace(WELL, user=user))
    assert (finding.status, finding.mend) == (status, mend)


def test_containers_need_root() -> None:
    user = User("ann", is_root=False, account_is_in=True, session_is_in=True)
    (finding,) = check_rights(replace(WELL, user=user, uri="lxc:///system"))
    assert (finding.status, finding.what) == ("failed", "ann is not root, and containers need root")


@pytest.mark.parametrize(
    ("clock", "programs", "status", "what", "mend"),
    [
        (Clock(True, 0.05), {}, "ok", "the clock is synchronised, at most 50 ms off", ""),
        (
            Clock(False, 16.0),
            {"timedatectl": "/bin/t"},
            "warning",
            "the clock is not synchronised: nothing corrects it",
            "sudo timedatectl set-ntp true",
        ),
        (
            Clock(True, 12.0),
            {"apt-get": "/bin/a"},
            "warning",
            "the clock is not synchronised: it may be 12 s off",
            "sudo apt-get install chrony",
        ),
    ],
)
def test_clock(clock: Clock, programs: Mapping[str, str], status: str, what: str, mend: str) -> None:
    (finding,) = check_clock(replace(WELL, clock=clock, programs=programs))
    assert (finding.status, finding.what, finding.mend) == (status, what, mend)


def test_a_python_without_libvirt() -> None:
    (finding,) = check_python(replace(WELL, python_libvirt=""))
    assert (finding.status, finding.hypervisor_fault) == (Status.FAILED, True)
    assert "-m pip install 'labrun[libvirt]' (its build needs: " in finding.mend


# A chain of nftables beside a newer libvirt, which has no rules in the tables of iptables.
def test_a_newer_libvirt_is_not_saved_by_rules_in_another_table() -> None:
    chain = ForwardChain("ip", "filter", "FORWARD", frozenset({"DOCKER-USER"}))
    for version, modes in (((9, 0, 0), "open"), ((10, 4, 0), "nat and route and open")):
        sides = (replace(QEMU, library=version),)
        found = examine(replace(WELL, libvirt=sides, forward=(chain,)))
        (finding,) = [each for each in found if each.name == "firewall ip filter FORWARD"]
        assert finding.matters == f"{modes} networks cannot reach other networks"


def test_what_only_the_other_machine_can_see_is_named() -> None:
    skipped = [each for each in examine(replace(WELL, is_here=False)) if each.status is Status.SKIPPED]
    assert [each.what for each in skipped] == [
        f"{e.name}: run `labrun doctor` on that machine" for e in skipped
    ]
    assert "firewall" in {each.name for each in skipped}


FINDINGS = [
    Finding("libvirt", Status.OK, "libvirt 9.0.0, qemu:///system and lxc:///system answer"),
    Finding("memory", Status.SKIPPED, "memory: run `labrun doctor` on that machine"),
    Finding(
        "bridge-nf",
        Status.WARNING,
        "bridges pass their frames to iptables: bridge-nf-call-iptables is 1",
        "what guests of one network send each other passes this machine's filter and masquerading",
        "sudo sysctl -w net.bridge.bridge-nf-call-iptables=0",
    ),
    Finding("libvirt", Status.FAILED, "cannot open it", "nothing works", "x" * 90),
]
NARROW = f"""\
ok    libvirt 9.0.0, qemu:///system and lxc:///system answer
-     memory: run `labrun doctor` on that machine
warn  bridges pass their frames to iptables: bridge-nf-call-iptables is 1
        matters  what guests of one network send each other passes this
                 machine's filter and masquerading
        mend     sudo sysctl -w net.bridge.bridge-nf-call-iptables=0
x     cannot open it
        matters  nothing works
        mend     {"x" * 90}
1 ok, 1 warning, 1 problem
"""


def test_findings_on_a_narrow_screen_and_a_wide_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    assert render(FINDINGS, io.StringIO(), Invocation("doctor")) == NARROW
    monkeypatch.setenv("COLUMNS", "120")
    wide = NARROW.replace("passes this\n                 machine's", "passes this machine's")
    assert render(FINDINGS, io.StringIO(), Invocation("doctor")) == wide


def test_quiet_shows_what_needs_attention(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    shown = render(FINDINGS, io.StringIO(), Invocation("doctor", verbosity=-1))
    assert shown == "".join(line for line in NARROW.splitlines(keepends=True) if line[:2] not in ("ok", "- "))
