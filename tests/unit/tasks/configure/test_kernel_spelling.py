"""Numbers are declared as people write them and compared as the kernel writes them."""

from __future__ import annotations

import pytest

from labrun.inventory.kernel_spelling import as_kernel_writes
from labrun.inventory.kernel_values import path_of
from labrun.tasks.collect.check_spec import CheckSpec
from labrun.tasks.collect.checks import read_check
from labrun.tasks.configure.sysctl import Sysctl, desired_sysctl
from labrun.tasks.guest.shell import Captured, Facts
from tests.unit.small_labs import host

SAME = [
    ("net.core.somaxconn", "0x400", "1024"),
    ("net/core/somaxconn", "02000", "1024"),
    ("vm.swappiness", "00", "0"),
    ("net.ipv4.ip_local_reserved_ports", "9000-9002,8080,9003", "8080,9000-9003"),
]
AS_THEY_ARE = [
    ("kernel/core_pattern", "0010"),
    ("kernel/hostname", "0x10"),
    ("net/core/somaxconn", "089"),
    ("net/core/somaxconn", "0x"),
    ("net/ipv4/ip_local_reserved_ports", "web"),
    ("net/ipv4/ip_local_reserved_ports", "9-3"),
    ("net/ipv4/ip_local_reserved_ports", "1-99999"),
]


@pytest.mark.parametrize(("key", "declared", "running"), SAME)
def test_a_number_in_another_spelling_is_as_declared(key: str, declared: str, running: str) -> None:
    path = path_of(key)
    values = desired_sysctl(host("h", {"n": "10.0.0.1/24"}, sysctl={key: declared}))
    facts = Facts({f"/proc/sys/{path}": f"{running}\n"}, {}, frozenset({f"writable /proc/sys/{path}"}))
    (item,) = Sysctl().plan({"values": {key: values[key]}}, facts).items
    assert item.want == item.have == {"": running}


@pytest.mark.parametrize(("path", "text"), AS_THEY_ARE)
def test_text_and_what_the_kernel_refuses_stay_as_they_are(path: str, text: str) -> None:
    assert as_kernel_writes(path, text) == text


def test_another_file_with_the_same_number_is_no_drift() -> None:
    proc = "/proc/sys/net/core/somaxconn"
    facts = Facts(
        {proc: "1024\n", "/etc/sysctl.d/99-site.conf": "net.core.somaxconn = 0x400\n"},
        {},
        frozenset({f"writable {proc}"}),
    )
    (item,) = Sysctl().plan({"values": {"net.core.somaxconn": "1024"}}, facts).items
    assert "reboot" not in f"{item.why}{item.have}"


def test_a_check_takes_a_number_in_another_spelling() -> None:
    wanted = {"net.core.somaxconn": "0x400"}
    spec = CheckSpec("backlog", "sysctl", "h", None, None, "open", 0, (), wanted, None, None, None)
    assert read_check(spec, Captured("net.core.somaxconn 1024\n", 0), Facts()).seen == "open"
