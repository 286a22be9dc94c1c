"""What is read of a VM's definition for a snapshot, and the XML that libvirt is given for its memory."""

from __future__ import annotations

from labrun.tasks.snapshots.vms import disk_files, memory_snapshot

XML = """\
<domain type='qemu'>
  <os><nvram template='/VARS.fd'>/var/lib/libvirt/qemu/nvram/demo-one_VARS.fd</nvram></os>
  <devices>
    <disk type='file' device='disk'><source file='/pools/demo/one.qcow2'/><target dev='vda'/></disk>
    <disk type='file' device='disk'>
      <source file='/pools/demo/one-seed.iso'/><target dev='vdb' bus='virtio'/><readonly/>
    </disk>
    <disk type='file' device='cdrom'><target dev='sda' bus='sata'/></disk>
  </devices>
</domain>
"""


def test_the_files_of_disks_are_those_with_a_file() -> None:
    assert disk_files(XML) == ("/pools/demo/one.qcow2", "/pools/demo/one-seed.iso")


def test_the_memory_is_saved_without_any_disk() -> None:
    assert memory_snapshot(XML, "/kept/<memory>") == (
        '<domainsnapshot><memory snapshot="external" file="/kept/&lt;memory&gt;" /><disks>'
        '<disk name="vda" snapshot="no" /><disk name="vdb" snapshot="no" /><disk name="sda" snapshot="no" />'
        "</disks></domainsnapshot>"
    )
