"""The XML of a VM against stored files, what is read back from it, and values that try to break out."""

from __future__ import annotations

import os
import xml.etree.ElementTree as ET
from dataclasses import replace

import pytest

from labrun.ownership import Tag, read_tag
from labrun.tasks.provision.driver import MachineSpec, NicSpec, Seed
from labrun.tasks.provision.machines import read_settings, wanted_settings
from labrun.tasks.provision.owned import record_of
from labrun.tasks.provision.qemu_xml import MachineFiles, domain_xml
from tests import places

CASES = places.RECORDED / "xml"
SECRET = "-----BEGIN OPENSSH PRIVATE KEY-----"
VOLUME = "debian-12-0123456789abcdef.qcow2"
SPEC = MachineSpec(
    lab="lab",
    host="host00",
    domain="lab-host00",
    image="debian-12",
    memory=512,
    vcpus=1,
    disk=10,
    nics=(
        NicSpec("02:11:22:33:44:55", "lab-network1"),
        NicSpec("02:11:22:33:44:56", "lab-network2", mtu=9000),
    ),
    seed=Seed("instance-id: x\n", f"#cloud-config\nssh_keys: {SECRET}\n", ""),
    user="lab",
    digest="d" * 64,
)
FILES = MachineFiles("/var/lib/labrun/pools/lab", "host00")
GOLDEN = {
    "qemu-bios-tcg": (SPEC, "qemu", None),
    "qemu-uefi-kvm-disks": (
        replace(SPEC, firmware="uefi", disks=(20, 5), vcpus=4, memory=2048),
        "kvm",
        "6ba7b810-9dad-41d1-80b4-00c04fd430c8",
    ),
    "qemu-no-network": (replace(SPEC, nics=()), "qemu", None),
    "qemu-imported-image": (replace(SPEC, image="rocky-9"), "qemu", None),
}


def _canonical(xml: str) -> str:
    return ET.canonicalize(xml, strip_text=True)


@pytest.mark.parametrize("case", sorted(GOLDEN))
def test_domain_xml_is_the_stored_one(case: str) -> None:
    spec, virt, uuid = GOLDEN[case]
    made = domain_xml(spec, FILES, virt=virt, image_volume=VOLUME, uuid=uuid)
    path = CASES / f"{case}.xml"
    if os.environ.get("WRITE_CASES"):
        root = ET.fromstring(_canonical(made))
        ET.indent(root)
        path.write_text(ET.tostring(root, encoding="unicode") + "\n", encoding="utf-8")
    assert _canonical(made) == _canonical(path.read_text(encoding="utf-8"))


def test_every_stored_case_is_compared() -> None:
    assert {path.stem for path in CASES.glob("qemu-*.xml")} == set(GOLDEN)


def test_the_seed_is_not_in_the_definition() -> None:
    assert SECRET in SPEC.seed.user_data
    assert SECRET not in domain_xml(SPEC, FILES, virt="qemu", image_volume=VOLUME)


@pytest.mark.parametrize("field", ["domain", "image", "lab", "host"])
def test_values_stay_values(field: str) -> None:
    hostile = "a\"/></metadata><devices><disk type='block'/></devices>&amp;<!--"
    spec = replace(SPEC, nics=(), **{field: hostile})  # type: ignore[arg-type]
    files = MachineFiles(f"/pools/{spec.lab}", spec.host)
    root = ET.fromstring(domain_xml(spec, files, virt="qemu", image_volume=VOLUME))
    assert [disk.get("type") for disk in root.iter("disk")] == ["file", "file"]
    texts = [root.findtext("name"), *root.attrib.values()]
    tag = read_tag(ET.tostring(root, encoding="unicode"))
    assert tag is not None
    assert hostile in (*texts, tag.lab, tag.host, tag.extra["image"])


def test_settings_are_read_back_from_the_definition() -> None:
    spec, virt, uuid = GOLDEN["qemu-uefi-kvm-disks"]
    xml = domain_xml(spec, FILES, virt=virt, image_volume=VOLUME, uuid=uuid)
    tag = read_tag(xml)
    record = record_of(wanted_settings("qemu", spec))
    extra = {"image": "debian-12", "image-volume": VOLUME, "applied": record, "user": "lab"}
    assert tag == Tag("lab", "host00", "d" * 64, extra=extra)
    # libvirt writes memory in KiB, whatever it was told in.
    in_kib = xml.replace('<memory unit="MiB">2048', '<memory unit="KiB">2097152')
    assert read_settings("qemu", in_kib, tag) == {
        "driver": "qemu",
        "image": "debian-12",
        "user": "lab",
        "memory": "2048",
        "vcpus": "4",
        "nics": "02:11:22:33:44:55@lab-network1 02:11:22:33:44:56@lab-network2",
        "firmware": "uefi",
    }


def test_firmware_is_seen_where_libvirt_dropped_the_request() -> None:
    xml = """<domain><memory unit="KiB">1024</memory><vcpu>1</vcpu>
    <os><loader readonly="yes" type="pflash">/usr/share/OVMF/OVMF_CODE_4M.fd</loader></os></domain>"""
    assert read_settings("qemu", xml, Tag("lab"))["firmware"] == "uefi"
    assert read_settings("qemu", xml.replace("pflash", "rom"), Tag("lab"))["firmware"] == "bios"


def test_no_volume_of_one_host_is_taken_for_anothers() -> None:
    names = ["a", "a-seed", "a-console", "a-disk1", "ab", "b-a"]
    volumes = {name: MachineFiles("/x", name) for name in names}
    for owner, files in volumes.items():
        own = [
            files.disk,
            files.seed,
            files.console,
            f"{files.console}.0",
            files.further(1),
            files.further(12),
        ]
        for name, other in volumes.items():
            assert {other.owns(volume) for volume in own} == {name == owner}, (owner, name)
