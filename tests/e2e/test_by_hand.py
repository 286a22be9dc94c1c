"""What others do to a lab's machines with virsh, on one real container: it is seen, named and mended."""

from __future__ import annotations

import re
from collections.abc import Iterator

import libvirt
import pytest

from tests.e2e.conftest import write_lab
from tests.labs import RunningLab
from tests.leftovers import note

LAB = "e2e-hand"
NAME = f"{LAB}-v"
TEXT = f"""\
name: {LAB}
hypervisor: lxc:///system
defaults: {{image: debian-12, memory: 256}}
networks: {{p: {{mode: isolated, cidr6: "fd00:163:1::/64"}}}}
hosts: {{v: {{networks: {{p: "fd00:163:1::5"}}}}}}
"""


@pytest.fixture(scope="module")
def lab(hypervisor: None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningLab]:
    """One container with an IPv6 address only; each test leaves it running as declared."""
    lab = write_lab(tmp_path_factory.mktemp("by-hand"), TEXT)
    try:
        up = lab.json("up")
        assert up.exit_code == 0, up.trouble()
        assert up.of("ready", "v")[0]["actual"].startswith("ready at fd00:163:1::5 ")
        yield lab
    finally:
        down = lab.run("-y", "down")
    assert down.exit_code == 0, down.stdout + down.stderr


@pytest.fixture
def libvirtd() -> Iterator[libvirt.virConnect]:
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    connection = libvirt.open("lxc:///system")
    yield connection
    connection.close()


@pytest.mark.full
def test_a_paused_container_goes_on(lab: RunningLab, libvirtd: libvirt.virConnect) -> None:
    domain = libvirtd.lookupByName(NAME)
    identity = domain.ID()
    for verb in ("start", "up"):
        domain.suspend()
        assert "v: paused: paused by hand" in lab.run("status").stdout
        answer = lab.json(verb)
        assert answer.exit_code == 0, answer.trouble()
        assert int(domain.state()[0]) == libvirt.VIR_DOMAIN_RUNNING
    assert domain.ID() == identity
    domain.suspend()
    stopped = lab.json("stop", "--timeout", "30")
    assert stopped.exit_code == 0, stopped.trouble()
    assert not domain.isActive()
    assert lab.json("up").exit_code == 0


@pytest.mark.full
def test_a_copy_of_the_machine_is_named_and_left(lab: RunningLab, libvirtd: libvirt.virConnect) -> None:
    original = libvirtd.lookupByName(NAME)
    xml = original.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    xml = re.sub("<uuid>.*</uuid>", "", xml).replace(f"<name>{NAME}</name>", f"<name>{LAB}-golden</name>")
    copy = libvirtd.defineXML(re.sub("<mac address=.*/>", "<mac address='52:54:00:77:00:01'/>", xml))
    try:
        status = lab.json("status")
        assert [host["state"] for host in status.document["hosts"]] == ["running"]
        plan = lab.json("plan")
        assert plan.exit_code == 0, plan.trouble()
        assert [row["name"] for row in plan.rows if row["status"] == "skipped"] == [f"{LAB}-golden"]
        down = lab.json("-y", "down")
        assert down.exit_code == 0, down.trouble()
        names = [domain.name() for domain in libvirtd.listAllDomains()]
        assert NAME not in names
        assert copy.name() in names
        up = lab.json("up")
        assert up.exit_code == 5
        assert f"`virsh -c lxc:///system undefine {LAB}-golden`" in up.of("machine", "v")[0]["why"]
        assert lab.json("plan").of("machine", "v")[0]["why"] in up.of("machine", "v")[0]["why"]
    finally:
        copy.undefine()
    assert lab.json("up").exit_code == 0


@pytest.mark.full
def test_a_running_machine_that_was_undefined_is_kept(lab: RunningLab, libvirtd: libvirt.virConnect) -> None:
    domain = libvirtd.lookupByName(NAME)
    identity = domain.ID()
    domain.undefine()
    plan = lab.json("plan")
    assert plan.exit_code == 3
    assert plan.of("machine", "v")[0]["diff"] == "- persistent: no\n+ persistent: yes"
    assert lab.json("drift").of("machine", "v")[0]["status"] == "drifted"
    up = lab.json("up")
    assert up.exit_code == 0, up.trouble()
    domain = libvirtd.lookupByName(NAME)
    assert domain.isPersistent()
    assert domain.ID() == identity
    domain.undefine()
    restarted = lab.json("restart")
    assert restarted.exit_code == 0, restarted.trouble()
    assert libvirtd.lookupByName(NAME).isPersistent()
    assert lab.json("up").exit_code == 0


FOREIGN = f"""\
<domain type='lxc'><name>e2e-guest-of-others</name><memory unit='MiB'>64</memory>
<os><type>exe</type><init>/bin/sleep</init><initarg>1000</initarg></os><devices>
<filesystem type='mount'><source dir='/'/><target dir='/'/><readonly/></filesystem>
<interface type='network'><source network='{LAB}-p'/><mac address='52:54:00:10:20:01'/></interface>
<console type='pty'/></devices></domain>
"""


def test_a_guest_of_others_is_not_cut_off(lab: RunningLab, libvirtd: libvirt.virConnect) -> None:
    note("e2e-guest-of-others")
    guest = libvirtd.createXML(FOREIGN)
    try:
        stopped = lab.json("stop")
        assert stopped.exit_code == 0, stopped.trouble()
        lab.path.write_text(TEXT.replace("mode: isolated", "mode: isolated, mtu: 1400"), encoding="utf-8")
        row = lab.json("up", "--no-wait").of("network", name="p")[0]
        assert row["status"] == "pending"
        assert "e2e-guest-of-others (not this lab's)" in row["why"]
        down = lab.json("-y", "down")
        assert down.exit_code == 1
        assert "e2e-guest-of-others" in down.of("network", name="p")[0]["why"]
        assert libvirtd.networkLookupByName(f"{LAB}-p").isActive()
    finally:
        lab.path.write_text(TEXT, encoding="utf-8")
        guest.destroy()
    down = lab.json("-y", "down")
    assert down.exit_code == 0, down.trouble()
    assert lab.json("up").exit_code == 0
