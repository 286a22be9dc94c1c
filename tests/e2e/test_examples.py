"""The example labs as they are shipped, by the commands of the README: up, configure, verify, drift, down."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e.segment import on_hypervisor
from tests.labs import EXAMPLES, RunningLab

pytestmark = [pytest.mark.lxc, pytest.mark.full]

# What the networks outside have in two of the examples: a router that answers, and a NIC with a cable.
OUTSIDE = {
    "bridged": ("ip link add br0 type bridge", "ip address add 192.0.2.1/24 dev br0", "ip link set br0 up"),
    "macvtap": (
        "ip link add enp3s0 type veth peer name enp3s0-far",
        "ip link set enp3s0 up",
        "ip link set enp3s0-far up",
    ),
}
DEVICES = {"bridged": "br0", "macvtap": "enp3s0"}
# Rows that the example itself explains: no service listens on its web server.
WARNINGS = {"home-dmz": {"page", "page by TLS", "tcp/8080 to fw:80", "tcp/8443 to fw:443"}}


@contextmanager
def network_outside(name: str) -> Iterator[None]:
    """Have what the example needs of the hypervisor's machine inside the block."""
    try:
        for line in OUTSIDE.get(name, ()):
            on_hypervisor(*line.split())
        yield
    finally:
        if name in DEVICES:
            on_hypervisor("ip", "link", "del", DEVICES[name])


@pytest.mark.parametrize("name", sorted(path.stem for path in EXAMPLES.glob("*.yaml")))
def test_an_example_does_what_its_page_says(hypervisor: None, tmp_path: Path, name: str) -> None:
    lab = RunningLab(Path(shutil.copy(EXAMPLES / f"{name}.yaml", tmp_path / "lab.yaml")), tmp_path / "state")
    with network_outside(name):
        try:
            for words in (("up",), ("configure",)):
                answer = lab.json(*words)
                assert answer.exit_code == 0, (words, answer.bad() or answer.stderr)
            for words in (("verify",), ("drift",), ("configure",), ("up",), ("plan",)):
                answer = lab.json(*words)
                odd = [row for row in answer.rows if row["status"] not in ("ok", "skipped")]
                expected = WARNINGS.get(answer.document["lab"], set())
                assert {row["name"] for row in odd} <= expected, (words, odd)
                assert words != ("verify",) or {row["name"] for row in odd} == expected, odd
                assert all(row["status"] == "warning" for row in odd), (words, odd)
                assert answer.exit_code == 0, (words, odd)
        finally:
            down = lab.json("-y", "down")
    assert down.exit_code == 0, down.trouble()
    assert answer.document["lab"] not in {each["name"] for each in lab.json("list").document["labs"]}
