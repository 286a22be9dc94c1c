"""What `--explain` prints of a change is typed into a shell: then there is nothing left to do."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from labrun.hypervisor import daemon_pid
from tests.e2e.conftest import write_lab
from tests.labs import RunningLab

URI = "lxc:///system"
LAB = "e2e-explain"
TEXT = f"""\
name: {LAB}
hypervisor: {URI}
defaults: {{image: debian-12, memory: 256}}
networks:
  n: {{mode: nat, cidr: 10.165.1.0/24}}
  m: {{mode: isolated, cidr: 10.165.2.0/24}}
filters: {{f: [{{deny: out, proto: tcp, port: 80}}]}}
hosts:
  a: {{networks: {{n: 10.165.1.10, m: {{ipv4: 10.165.2.10, filter: f}}}}}}
"""
WITH_VM = TEXT + "  b: {driver: qemu, autostart: true, networks: {n: 10.165.1.11}}\n"


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """One container."""
    lab = write_lab(tmp_path_factory.mktemp("explain"), TEXT)
    try:
        up = lab.json("up", "--no-wait")
        assert up.exit_code == 0, up.trouble()
        yield lab
    finally:
        down = lab.run("-y", "down")
    assert down.exit_code == 0, down.stdout + down.stderr


@pytest.fixture(scope="module")
def lab_with_vm(lab: RunningLab) -> RunningLab:
    """The same, and one VM that is only running."""
    lab.path.write_text(WITH_VM, encoding="utf-8")
    up = lab.json("up", "--no-wait")
    assert up.exit_code == 0, up.trouble()
    return lab


def virsh(*words: str) -> None:
    subprocess.run(["virsh", "-q", "-c", URI, *words], check=True, timeout=60)


def beside(*words: str) -> None:
    subprocess.run(["nsenter", "-t", str(daemon_pid(URI)), "-n", *words], check=True, timeout=30)


def bridge(network: str) -> str:
    done = subprocess.run(
        ["virsh", "-c", URI, "net-info", f"{LAB}-{network}"], capture_output=True, text=True, check=True
    )
    return str(re.findall(r"Bridge:\s+(\S+)", done.stdout)[0])


def flush() -> None:
    """Delete the rules of the lab's networks: those of other labs stay."""
    own = "|".join(map(bridge, "nm"))
    delete = 'eval "iptables -w -D ${rule#-A }"'
    beside("sh", "-c", f"iptables -S | grep -Ew '{own}' | while read -r rule; do {delete}; done")


def stop_dnsmasq() -> None:
    os.kill(int(Path(f"/run/libvirt/network/{LAB}-n.pid").read_text()), signal.SIGSTOP)


SECOND = "{ipv4: 10.165.2.10, filter: f}"
Change = tuple[tuple[str, str] | None, Callable[[], object] | None, tuple[str, ...]]
REJECTS = ("deny: out", "reject: out")
FORWARDS = ("mode: nat", 'mode: nat, forward: [{port: 18165, to: "a:80"}]')
# What the file says instead, what somebody does by hand, and which commands mend it.
CHANGES: dict[str, Change] = {
    "reservation": (("n: 10.165.1.10", "n: 10.165.1.20"), None, ("net-update delete", "net-update add-last")),
    "dns name": (
        ("cidr: 10.165.2.0/24", "cidr: 10.165.2.0/24, dns: {www: 10.165.2.9}"),
        None,
        ("net-update add-last",),
    ),
    "network anew": (
        ("mode: isolated", "mode: isolated, domain: lab.example"),
        None,
        ("net-define", "net-destroy", "net-start", "net-port-create", "ip link"),
    ),
    "autostart of a network": (("mode: nat", "mode: nat, autostart: false"), None, ("net-autostart",)),
    "filter": (("port: 80", "port: 81"), None, ("nwfilter-define",)),
    "filter that is a table": (REJECTS, None, ("nft -f", "nwfilter-undefine")),
    "forward": (FORWARDS, None, ("nft -f", "iptables -w -I FORWARD", "tee")),
    "memory of a container": (
        ("a: {networks", "a: {memory: 300, networks"),
        None,
        ("memtune", "setmaxmem", "setmem"),
    ),
    "vcpus of a container": (("a: {networks", "a: {vcpus: 2, networks"), None, ("define",)),
    "filter of a NIC": ((SECOND, "10.165.2.10"), None, ("detach-device", "attach-device")),
    "NIC less": ((f", m: {SECOND}", ""), None, ("detach-device", "net-update delete", "nft -f")),
    "NICs in another order": (
        (f"n: 10.165.1.10, m: {SECOND}", f"m: {SECOND}, n: 10.165.1.10"),
        None,
        ("detach-device", "attach-device"),
    ),
    "paused": (None, lambda: virsh("suspend", f"{LAB}-a"), ("resume",)),
    "off": (None, lambda: virsh("destroy", f"{LAB}-a"), ("mount", "start")),
    "undefined": (None, lambda: virsh("undefine", f"{LAB}-a"), ("define",)),
    "network stopped": (
        None,
        lambda: virsh("net-destroy", f"{LAB}-m"),
        ("net-start", "net-port-create", "ip link"),
    ),
    "network undefined": (
        None,
        lambda: virsh("net-undefine", f"{LAB}-m"),
        ("net-define", "net-autostart"),
    ),
    "dnsmasq": (None, stop_dnsmasq, ("kill -CONT", "net-update add", "net-update delete")),
    "address of a bridge": (
        None,
        lambda: beside("ip", "address", "flush", "dev", bridge("m")),
        ("net-destroy", "net-start", "net-port-create", "ip link"),
    ),
    "chains": (None, flush, ("iptables", "net-destroy", "net-start")),
}
# Each goes the way of another one.
ALIKE = {
    "dns name",
    "autostart of a network",
    "vcpus of a container",
    "NICs in another order",
    "undefined",
    "paused",
    "NIC less",
    "network undefined",
    "address of a bridge",
    # A filter and memory are there in another shape, and a machine that does not run, too.
    "filter",
    "filter of a NIC",
    "memory of a container",
    "off",
    "network stopped",
}
OF_VM: dict[str, Change] = {
    "memory and vcpus of a VM": (
        ("driver: qemu,", "driver: qemu, memory: 300, vcpus: 2,"),
        None,
        ("setmaxmem", "setmem", "setvcpus"),
    ),
    "autostart of a VM": (("autostart: true, ", ""), None, ("autostart",)),
    "MAC": (
        ("n: 10.165.1.11", 'n: 10.165.1.11, m: {ipv4: 10.165.2.11, mac: "02:00:00:00:77:01"}'),
        None,
        ("attach-device", "net-update add-last"),
    ),
    # The last: disks do not shrink again.
    "disks of a VM": (
        ("driver: qemu,", "driver: qemu, disk: 12, disks: [{size: 1}],"),
        None,
        ("blockresize", "vol-create-as", "attach-device"),
    ),
}


def verbs(text: str) -> str:
    """Return the printed commands without URIs and names, so that words that belong together are so."""
    return re.sub(rf"virsh -c \S+ |(?<=net-update )\S+ |nsenter -t \d+ -n -- |{LAB}-\w+ ?", "", text)


def type_in(lab: RunningLab, words: tuple[str, ...]) -> None:
    """Type what `plan --explain` prints, ``words`` among it: then nothing is left to do."""
    assert lab.json("plan").exit_code == 3
    text = lab.run("plan", "--explain").stdout
    printed = verbs(text)
    assert [word for word in words if word not in printed] == [], printed
    if "net-define" not in words:
        assert "net-define" not in printed
    assert "cloud/seed" not in printed
    typed = subprocess.run(
        ["bash", "-e"], input=text, capture_output=True, text=True, timeout=120, check=False
    )
    assert typed.returncode == 0, f"{typed.stderr}\n{text}"
    plan = lab.json("plan")
    assert plan.exit_code == 0, (plan.bad(), text)
    assert lab.json("up", "--no-wait").statuses("network", "machine", "filter", "forward") == {"ok"}


def change_by_hand(lab: RunningLab, text: str, kind: Change) -> None:
    change, by_hand, words = kind
    lab.path.write_text(text.replace(*change) if change else text, encoding="utf-8")
    if change is None:
        restored = lab.json("up", "--no-wait")
        assert restored.exit_code == 0, restored.trouble()
    if by_hand is not None:
        by_hand()
    type_in(lab, words)
    # What the next change is one of.
    lab.path.write_text(text, encoding="utf-8")
    assert lab.run("-y", "up", "--no-wait").exit_code in (0, 3)


def _of_ci(kind: str) -> object:
    return pytest.param(kind, marks=pytest.mark.full) if kind in ALIKE else kind


@pytest.mark.parametrize("kind", [_of_ci(kind) for kind in CHANGES])
def test_the_printed_commands_are_all_that_is_needed(lab: RunningLab, kind: str) -> None:
    change_by_hand(lab, TEXT, CHANGES[kind])


@pytest.mark.parametrize(
    ("change", "words"),
    [(REJECTS, ("nwfilter-define", "nft -f")), (FORWARDS, ("nft -f", "iptables -w -D FORWARD"))],
    ids=["filter", "forward"],
)
def test_a_table_goes_again(lab: RunningLab, change: tuple[str, str], words: tuple[str, ...]) -> None:
    lab.path.write_text(TEXT.replace(*change), encoding="utf-8")
    up = lab.json("up", "--no-wait")
    assert up.exit_code == 0, up.trouble()
    lab.path.write_text(TEXT, encoding="utf-8")
    type_in(lab, words)


@pytest.mark.full
@pytest.mark.parametrize("kind", OF_VM)
def test_those_for_a_vm_are_all_that_is_needed(lab_with_vm: RunningLab, kind: str) -> None:
    until = time.monotonic() + 180
    # A guest gives a NIC up when it has booted.
    while lab_with_vm.json("up", "--no-wait").statuses("machine") != {"ok"}:
        assert time.monotonic() < until, lab_with_vm.json("plan").bad()
    change_by_hand(lab_with_vm, WITH_VM, OF_VM[kind])
