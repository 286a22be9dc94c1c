"""What others do to a lab's VMs with virsh: paused, killed, saved, undefined, renamed, copied.

The guest is one boot sector at rest: what libvirt and labrun make of the machine needs no system in it.
"""

from __future__ import annotations

import os
import re
import signal
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import MappingProxyType

import libvirt
import pytest

from labrun.tasks.provision.image_volume import find_image_volume
from labrun.tasks.provision.volumes import delete_volume, find_pool, image_pool
from tests.e2e.conftest import write_lab
from tests.labs import RunningLab
from tests.tiny_guest import tiny_disk

pytestmark = [pytest.mark.vm, pytest.mark.full]

URI, LAB, IMAGE = "qemu:///system", "e2e-vmhand", "e2e-tiny"
NAME = f"{LAB}-v"
POOL = Path("/var/lib/labrun/pools") / LAB
TEXT = f"""\
name: {LAB}
hypervisor: {URI}
defaults: {{image: {IMAGE}, memory: 64, disk: 1}}
networks: {{n: {{cidr: 10.174.1.0/24}}}}
hosts: {{v: {{networks: {{n: 10.174.1.10}}}}}}
"""
UP = ("-y", "up", "--prune", "--no-wait")
# The guest hears no power button; the time that libvirtd takes to answer, on a busy machine, counts as well.
RESTART = ("restart", "--no-wait", "--timeout", "5")


@pytest.fixture(scope="module")
def libvirtd() -> Iterator[libvirt.virConnect]:
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    connection = libvirt.open(URI)
    yield connection
    connection.close()


@pytest.fixture(scope="module")
def lab(
    hypervisor: None, libvirtd: libvirt.virConnect, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[RunningLab]:
    """One VM; each test leaves it running as in TEXT."""
    directory = tmp_path_factory.mktemp("vm-by-hand")
    made = write_lab(directory, TEXT)
    made.env["LABRUN_IMAGE_DIR"] = str(directory / "images")
    brought = made.run("image", "import", str(tiny_disk(directory / "tiny.qcow2")), "--name", IMAGE)
    assert brought.exit_code == 0, brought.stderr
    try:
        up = made.json(*UP)
        assert up.exit_code == 0, up.trouble()
        yield made
    finally:
        down = made.json("-y", "down")
        pool = find_pool(libvirtd, image_pool())
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("LABRUN_IMAGE_DIR", made.env["LABRUN_IMAGE_DIR"])
            volume = find_image_volume(libvirtd, image_pool(), IMAGE)
        if pool is not None and volume is not None:
            delete_volume(pool, volume.name())
    assert down.exit_code == 0, down.trouble()


def standing(lab: RunningLab) -> str:
    """Return what status says of the machine: its state and the reason."""
    answer = lab.run("status")
    (line,) = [line for line in answer.stdout.splitlines() if line.startswith("v:")]
    return line


def state(domain: libvirt.virDomain) -> tuple[int, int]:
    """Return libvirt's numbers of a machine's state and of the reason."""
    numbers = [int(each) for each in domain.state()]
    return numbers[0], numbers[1]


def is_up_again(lab: RunningLab) -> None:
    """Bring the machine up as in the file; a second time there is nothing left to do."""
    up = lab.json(*UP)
    assert up.exit_code == 0, up.trouble()
    assert lab.json("plan", "--prune").exit_code == 0
    assert lab.json(*UP).statuses() <= {"ok", "skipped"}


def copy(
    libvirtd: libvirt.virConnect, name: str, files: Mapping[str, str] = MappingProxyType({})
) -> libvirt.virDomain:
    """Define a copy of the machine as dumpxml and define make one, without a NIC, with other ``files``.

    It has the lab's tag.
    """
    xml = libvirtd.lookupByName(NAME).XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)
    known = [domain for domain in libvirtd.listAllDomains() if domain.name() == name]
    uuid = f"<uuid>{known[0].UUIDString()}</uuid>" if known else ""
    xml = re.sub("<uuid>.*</uuid>", uuid, xml).replace(f"<name>{NAME}</name>", f"<name>{name}</name>")
    xml = re.sub("<interface .*</interface>", "", xml, flags=re.DOTALL)
    for old, new in files.items():
        xml = xml.replace(f"/{old}", f"/{new}")
    return libvirtd.defineXML(xml)


def test_a_paused_one_goes_on(lab: RunningLab, libvirtd: libvirt.virConnect) -> None:
    domain = libvirtd.lookupByName(NAME)
    identity = domain.ID()
    for words in (("start",), UP):
        domain.suspend()
        assert standing(lab) == "v: paused: paused by hand"
        assert lab.json("plan").of("machine", "v")[0]["why"] == "paused: paused by hand"
        assert lab.json(*words).exit_code == 0
        assert state(domain)[0] == libvirt.VIR_DOMAIN_RUNNING
    assert domain.ID() == identity


def test_one_whose_process_was_killed_is_started(lab: RunningLab, libvirtd: libvirt.virConnect) -> None:
    domain = libvirtd.lookupByName(NAME)
    os.kill(int(Path(f"/run/libvirt/qemu/{NAME}.pid").read_text()), signal.SIGKILL)
    until = time.monotonic() + 60
    while domain.isActive():
        assert time.monotonic() < until
        time.sleep(0.1)
    why = "it crashed, or its process was killed"
    assert standing(lab) == f"v: shut off: {why}"
    assert lab.json("drift").of("machine", "v")[0]["why"] == why
    assert {row["why"] for row in lab.json("verify").rows} == {
        f"the machine is shut off ({why}): `labrun up` starts it"
    }
    is_up_again(lab)


def test_a_saved_one_goes_on_where_the_file_has_it_now(lab: RunningLab, libvirtd: libvirt.virConnect) -> None:
    """What its saved state says of networks is of then: they may have gone, or another may be the one."""
    domain = libvirtd.lookupByName(NAME)
    domain.managedSave()
    assert standing(lab) == "v: shut off: its state is saved, and it goes on from there"
    fixed = TEXT.replace("10.174.1.10", '{ipv4: 10.174.1.10, mac: "02:00:00:00:74:01"}')
    lab.path.write_text(fixed.replace("n: ", "m: "), encoding="utf-8")
    # The NIC with the former MAC is on no network any more; a guest with a system in it lets go of it.
    up = lab.json(*UP)
    assert up.exit_code == 0, up.trouble()
    assert up.of("machine", "v")[0]["why"] == "from its next start on: nics"
    assert state(domain) == (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_RESTORED)
    assert "<link state='down'/>" in domain.XMLDesc(0)
    domain.destroy()
    is_up_again(lab)
    # The same NIC is in another network when it goes on, and another comes to it.
    domain.managedSave()
    more = fixed.replace("10.174.1.0/24}", "10.174.1.0/24}, o: {cidr: 10.174.2.0/24}")
    lab.path.write_text(more.replace('01"}', '01"}, o: dhcp'), encoding="utf-8")
    is_up_again(lab)
    assert state(domain) == (libvirt.VIR_DOMAIN_RUNNING, libvirt.VIR_DOMAIN_RUNNING_RESTORED)
    assert re.findall(f"network='({LAB}-.)'", domain.XMLDesc(0)) == [f"{LAB}-n", f"{LAB}-o"]
    domain.destroy()
    lab.path.write_text(TEXT, encoding="utf-8")
    is_up_again(lab)


def test_a_saved_state_that_cannot_be_read_is_named(lab: RunningLab, libvirtd: libvirt.virConnect) -> None:
    domain = libvirtd.lookupByName(NAME)
    domain.managedSave()
    Path(f"/var/lib/libvirt/qemu/save/{NAME}.save").write_text("damaged", encoding="utf-8")
    for words in (("start",), UP):
        answer = lab.json(*words)
        assert answer.exit_code == 5
        why = answer.of("machine", "v")[0]["why"]
        assert why.startswith("start: it cannot go on from its saved state: ")
        assert f"`virsh -c {URI} managedsave-remove {NAME}`" in why
    domain.managedSaveRemove()
    is_up_again(lab)


def test_one_that_was_undefined_while_it_runs_is_kept(lab: RunningLab, libvirtd: libvirt.virConnect) -> None:
    domain = libvirtd.lookupByName(NAME)
    identity = domain.ID()
    domain.undefine()
    plan = lab.json("plan")
    assert plan.exit_code == 3
    assert plan.of("machine", "v")[0]["diff"] == "- persistent: no\n+ persistent: yes"
    is_up_again(lab)
    assert libvirtd.lookupByName(NAME).ID() == identity
    libvirtd.lookupByName(NAME).undefine()
    stopped = lab.json("stop", "--timeout", "10")
    assert stopped.exit_code == 0, stopped.trouble()
    assert libvirtd.lookupByName(NAME).isPersistent()
    is_up_again(lab)


def test_a_renamed_one_is_named_by_whoever_misses_it(lab: RunningLab, libvirtd: libvirt.virConnect) -> None:
    domain = libvirtd.lookupByName(NAME)
    domain.destroy()
    domain.rename(f"{LAB}-kept")
    there = f"{LAB}-kept is there: it has the tag of {NAME}, which is gone, so it was renamed or copied"
    way_back = f"`virsh -c {URI} domrename {LAB}-kept {NAME}`"
    asked = {
        words: lab.json(*words.split())
        for words in ("plan", "-y up --no-wait", "start", "stop", "verify", "drift", "exec --via agent true")
    }
    for words, answer in asked.items():
        assert answer.exit_code != 0, words
        reasons = {row["why"] for row in answer.rows if row["host"] == "v" and row["status"] != "skipped"}
        assert all(there in str(why) and way_back in str(why) for why in reasons), (words, reasons)
        assert reasons, words
    assert there in lab.run("console", "v").stderr
    down = lab.json("-y", "down")
    assert down.exit_code == 0, down.trouble()
    assert domain.name() == f"{LAB}-kept"
    domain.rename(NAME)
    is_up_again(lab)


def test_a_copy_keeps_the_files_that_it_shares(lab: RunningLab, libvirtd: libvirt.virConnect) -> None:
    disk = POOL / "v.qcow2"
    golden = copy(libvirtd, f"{LAB}-golden")
    try:
        # Off, it does no harm to the machine, unless that is replaced.
        assert lab.json("plan").exit_code == 0
        answer = lab.json("-y", "up", "--recreate", "--hosts", "v", "--no-wait")
        assert (answer.exit_code, answer.of("machine", "v")[0]["why"]) == (
            5,
            f"{LAB}-golden, which is not this lab's, has {disk}: undefine it, or give it a copy of its own",
        )
        libvirtd.lookupByName(NAME).destroy()
        golden.create()
        runs = f"{LAB}-golden, which is not this lab's, runs on {disk}"
        for words in (("plan",), UP, ("start",)):
            answer = lab.json(*words)
            assert answer.exit_code == 5
            assert answer.of("machine", "v")[0]["why"] == f"{runs}: shut it off, or give it a copy of its own"
        down = lab.json("-y", "down")
        assert down.exit_code == 0, down.trouble()
        (row,) = down.of("machine", name=f"{LAB}-golden")
        assert (row["status"], row["actual"]) == ("skipped", "there")
        assert row["why"].endswith(f"; kept for it: {POOL}/v-console.log, {POOL}/v-seed.iso, {disk}")
        assert golden.isActive()
        assert disk.exists()
    finally:
        if golden.isActive():
            golden.destroy()
        golden.undefine()
    assert lab.json("-y", "down").exit_code == 0
    assert not POOL.exists()
    is_up_again(lab)


def test_a_clone_with_a_disk_beside_keeps_that(lab: RunningLab, libvirtd: libvirt.virConnect) -> None:
    """As virt-clone makes it: a new disk next to the old one, the read-only seed shared."""
    libvirtd.lookupByName(NAME).destroy()
    disk = POOL / "v-clone.qcow2"
    disk.write_bytes((POOL / "v.qcow2").read_bytes())
    other = {"v.qcow2": "v-clone.qcow2"}
    clone = copy(libvirtd, f"{NAME}-clone", other)
    try:
        clone.create()
        # Its console has the same log.
        assert f"runs on {POOL}/v-console.log: " in lab.json("plan").of("machine", "v")[0]["why"]
        clone.destroy()
        clone = copy(libvirtd, f"{NAME}-clone", {**other, "v-console.log": "v-clone-console.log"})
        clone.create()
        is_up_again(lab)
        down = lab.json("-y", "down")
        assert down.exit_code == 0, down.trouble()
        assert {path.name for path in POOL.iterdir()} >= {"v-clone.qcow2", "v-seed.iso"}
        assert not (POOL / "v.qcow2").exists()
    finally:
        if clone.isActive():
            clone.destroy()
        clone.undefine()
    is_up_again(lab)


def test_a_mac_that_a_guest_of_others_has(lab: RunningLab, libvirtd: libvirt.virConnect) -> None:
    xml = libvirtd.lookupByName(NAME).XMLDesc(0)
    (mac,) = re.findall("<mac address='(.*)'/>", xml)
    libvirtd.lookupByName(NAME).destroy()
    guest = libvirtd.createXML(
        "<domain type='qemu'><name>e2e-vm-of-others</name><memory unit='MiB'>64</memory><os><type>hvm</type>"
        f"</os><devices><interface type='network'><source network='{LAB}-n'/><mac address='{mac}'/>"
        "</interface></devices></domain>",
        libvirt.VIR_DOMAIN_START_PAUSED,
    )
    try:
        why = f"e2e-vm-of-others, which is not this lab's, has the MAC {mac} on {LAB}-n (change `mac`)"
        for words in (("plan",), UP):
            answer = lab.json(*words)
            assert (answer.exit_code, answer.of("machine", "v")[0]["why"]) == (5, why)
        # Nor is it cut off from the network.
        lab.path.write_text(TEXT.replace("/24}", "/24, mtu: 1400}"), encoding="utf-8")
        (row,) = lab.json("plan").of("network", name="n")
        assert row["status"] == "pending"
        assert "e2e-vm-of-others (not this lab's)" in row["why"]
        down = lab.json("-y", "down")
        assert down.exit_code == 1
        assert "e2e-vm-of-others" in down.of("network", name="n")[0]["why"]
    finally:
        lab.path.write_text(TEXT, encoding="utf-8")
        guest.destroy()
    is_up_again(lab)


def test_another_model_of_a_nic_comes_with_the_next_start(
    lab: RunningLab, libvirtd: libvirt.virConnect
) -> None:
    """A guest that found another device in place of its NIC while it runs would have no address."""

    def models() -> list[str]:
        domain = libvirtd.lookupByName(NAME)
        return [
            *re.findall("<model type='(e1000e|virtio)'/>", domain.XMLDesc(0)),
            *re.findall("<model type='(e1000e|virtio)'/>", domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE)),
        ]

    assert models() == ["virtio", "virtio"]
    before = libvirtd.lookupByName(NAME).ID()
    text = TEXT.replace("{n: 10.174.1.10}", "{n: {ipv4: 10.174.1.10, model: e1000e}}")
    lab.path.write_text(text, encoding="utf-8")
    try:
        (row,) = lab.json("plan").of("machine", "v")
        assert (row["status"], row["why"]) == ("would-change", "from its next start on: nics")
        up = lab.json(*UP)
        (row,) = up.of("machine", "v")
        assert (up.exit_code, row["status"], row["why"]) == (0, "changed", "from its next start on: nics")
        assert (models(), libvirtd.lookupByName(NAME).ID()) == (["virtio", "e1000e"], before)
        again = lab.json(*UP)
        assert again.statuses() <= {"ok", "skipped"}
        assert again.of("machine", "v")[0]["why"] == "from its next start on: nics"
        assert lab.json("plan").exit_code == 0
        assert lab.json(*RESTART).exit_code == 0
        assert models() == ["e1000e", "e1000e"]
        assert lab.json(*UP).of("machine", "v")[0]["why"] is None
    finally:
        lab.path.write_text(TEXT, encoding="utf-8")
        assert lab.json(*UP).exit_code == 0
        assert lab.json(*RESTART).exit_code == 0
    assert models() == ["virtio", "virtio"]
    is_up_again(lab)
