"""Whatever the bytes: a lab, or problems with lines; never another exception."""

from __future__ import annotations

import re
import time
from pathlib import Path

import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from labrun.errors import LabFileError
from labrun.inventory.file.load import load_lab
from labrun.inventory.model import Lab
from tests.shares import of_ci

KEY_WORDS = """
    name hypervisor defaults networks hosts groups filters images checks schedule routing ssh_keys a
    b net1 net2 mode cidr cidr6 dhcp range domain mtu autostart dev bridge nat_ports dns role
    gateway routes to via sysctl sshd firewall nat memory vcpus disk disks image user address ipv4
    ipv6 mac filter nmcli allow from port proto on masquerade forward access files packages services
    tcp every deny url path build net.ipv4.ip_forward Port no 1 hypervisor router
"""
KEYS = st.sampled_from(KEY_WORDS.split())
VALUE_WORDS = """
    demo a b net1 net2 dhcp none auto nat route isolated bridge macvtap router 10.1.0.0/24
    10.1.0.0/30 10.1.0.5 10.1.0.1 fd00::/64 fd00::5 10.9.0.0/16 0.0.0.0/0 ::/0 1.2.3.4/33
    02:00:00:00:00:01 15m a:80 debian-12 {{ 80-90 qemu:///system
"""
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-5, 70_000),
    st.floats(allow_nan=True),
    st.text(max_size=8),
    st.sampled_from(VALUE_WORDS.split()),
)
TREES = st.recursive(
    VALUES,
    lambda below: st.lists(below, max_size=4) | st.dictionaries(KEYS, below, max_size=5),
    max_leaves=30,
)
NIC = st.one_of(
    VALUES, st.dictionaries(st.sampled_from(["ipv4", "ipv6", "mac", "filter", "nmcli"]), TREES, max_size=3)
)
HOST = st.fixed_dictionaries(
    {"networks": st.dictionaries(st.sampled_from(["net1", "net2", "net3"]), NIC, min_size=1, max_size=3)},
    optional=dict.fromkeys(
        ("role", "gateway", "routes", "sysctl", "sshd", "memory", "firewall", "nat", "address"), TREES
    ),
)
LABS = st.fixed_dictionaries(
    {
        "name": st.just("demo") | VALUES,
        "networks": st.dictionaries(
            st.sampled_from(["net1", "net2", "a"]),
            st.dictionaries(
                st.sampled_from(["mode", "cidr", "cidr6", "dhcp", "dns", "bridge", "mtu"]), VALUES, max_size=4
            ),
        ),
        "hosts": st.dictionaries(st.sampled_from(["a", "b", "c", "net1"]), HOST, max_size=4),
    },
    optional=dict.fromkeys(
        ("groups", "defaults", "checks", "filters", "images", "schedule", "ssh_keys"), TREES
    ),
)
LINE = re.compile(r"lab\.yaml:[1-9][0-9]*: \S.*")
RELAXED = settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def outcome(folder: Path, data: bytes) -> Lab | list[str]:
    """Return the lab, or what is said of the file: one line a problem, each with its place."""
    file = folder / "lab.yaml"
    file.write_bytes(data)
    try:
        return load_lab(file)
    except LabFileError as error:
        refused = error
    lines = str(refused).replace(str(folder) + "/", "").split("\n")
    assert all(LINE.fullmatch(line) for line in lines), lines
    numbers = [problem.line for problem in refused.problems]
    assert len(lines) == len(numbers)
    assert numbers == sorted(numbers)
    assert numbers[-1] <= max(len(data.decode("utf-8", "replace").splitlines()), 1)
    return lines


@RELAXED
@given(st.binary(max_size=300))
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    assert isinstance(outcome(tmp_path, data), list)


@RELAXED
@given(st.text(alphabet="ab:-[]{}&*!|>'\"%#,?\n\t 01<~@`", max_size=120))
def test_any_text_of_yaml_characters(tmp_path: Path, text: str) -> None:
    assert isinstance(outcome(tmp_path, text.encode()), list)


@RELAXED
@given(TREES)
def test_any_yaml(tmp_path: Path, tree: object) -> None:
    outcome(tmp_path, yaml.safe_dump(tree, allow_unicode=True, sort_keys=False).encode())


@RELAXED
@given(LABS)
def test_anything_like_a_lab(tmp_path: Path, tree: dict[str, object]) -> None:
    first = outcome(tmp_path, yaml.safe_dump(tree, sort_keys=False).encode())
    second = outcome(tmp_path, yaml.safe_dump(tree, sort_keys=False).encode())
    assert first == second


HURTS = [
    "[" * 500_000,
    "{" * 500_000,
    "- " * 300_000,
    "a: " * 300_000,
    "? " * 300_000,
    "&a " * 300_000,
    "'" * 500_001,
    "name: [" + "a," * 400_000,
    "a:\n" + "".join(f"{' ' * n}a:\n" for n in range(1, 1200)),
    "\n".join(f"k{n}: {n}" for n in range(60_000)),
    "hosts: {" + ", ".join(f"a: {n}" for n in range(60_000)) + "}",
    "x: &x {" + ", ".join(f"k{n}: 1" for n in range(9000)) + "}\ny: [" + "{<<: *x}, " * 50_000 + "]",
]


# Brackets, indentation, many keys, and a merge of many.
@pytest.mark.parametrize(
    "text",
    of_ci(HURTS, [HURTS[0], *HURTS[-4:-2], HURTS[-1]]),
    ids=lambda text: str(text[:12].replace("\n", " ")),
)
def test_a_megabyte_made_to_hurt_is_refused_soon(tmp_path: Path, text: str) -> None:
    began = time.process_time()
    assert isinstance(outcome(tmp_path, text.encode()), list)
    assert time.process_time() - began < 20


def test_a_thousand_hosts(tmp_path: Path) -> None:
    hosts = "".join(
        f"  host{n:04}: {{networks: {{net{n // 100}: {address}}}}}\n"
        for n in range(1000)
        for address in ["dhcp" if n % 2 else f"10.{n // 100}.0.{n % 100 + 10}"]
    )
    nets = "".join(f"  net{n}: {{cidr: 10.{n}.0.0/23}}\n" for n in range(10))
    began = time.process_time()
    lab = outcome(tmp_path, f"name: demo\nnetworks:\n{nets}hosts:\n{hosts}".encode())
    assert isinstance(lab, Lab)
    assert len({nic.ipv4 for host in lab.hosts.values() for nic in host.interfaces}) == 1000
    assert time.process_time() - began < 2
