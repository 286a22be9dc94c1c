"""What plan says of machines that up would be refused, on the real libvirtd of this machine."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import libvirt
import pytest

from tests.leftovers import note
from tests.unit.command_line import run_labrun

LAB = """\
name: obstacle-test
hypervisor: qemu:///system
networks: {n: {mode: very-isolated, cidr: 10.217.1.0/24}}
hosts:
  one: {networks: {n: 10.217.1.11}, image: no-such-image}
  two: {networks: {n: 10.217.1.12}, image: no-such-image}
"""
FOREIGN = """\
<domain type='qemu'><name>obstacle-test-two</name><memory>1024</memory><os><type>hvm</type></os></domain>
"""
IMAGE = "the image no-such-image has no disk for VMs (labrun image import FILE --name no-such-image)"


@pytest.fixture
def foreign() -> Iterator[None]:
    connection = libvirt.open("qemu:///system")
    note("obstacle-test-two")
    domain = connection.defineXML(FOREIGN)
    yield
    domain.undefine()
    connection.close()


@pytest.mark.usefixtures("foreign")
def test_a_missing_image_and_a_foreign_domain_are_said_by_plan(tmp_path: Path) -> None:
    (tmp_path / "lab.yaml").write_text(LAB)
    done = run_labrun("--state-dir", "state", "--json", "plan", cwd=tmp_path)
    found = {(r["section"], r["name"]): (r["status"], r["why"]) for r in json.loads(done.stdout)["results"]}
    assert done.returncode == 5
    assert found == {
        ("filter", "declared addresses"): ("would-change", None),
        ("network", "n"): ("would-change", None),
        ("image", "no-such-image"): ("failed", IMAGE),
        ("machine", "one"): ("failed", IMAGE),
        ("machine", "two"): (
            "failed",
            (
                "the domain obstacle-test-two exists and is not this lab's"
                " (rename the lab or the host, or inspect it with `virsh dumpxml obstacle-test-two`)"
            ),
        ),
    }
