"""Files of a lab that others use are kept, and who writes to them is in the way of the machine."""

from __future__ import annotations

from pathlib import PurePosixPath

import libvirt

from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.tasks.provision.file_users import FileUser, in_use, kept_rows, users_on

POOL = "/pools/lab"
_DOMAIN = """\
<domain type="test"><name>{name}</name><memory>65536</memory><os><type>hvm</type></os>
<metadata><l:lab xmlns:l="urn:labrun:1" name="lab" host="v"/></metadata>
<devices><disk type="file"><source file="{disk}"/><target dev="vda"/></disk>
<disk type="file"><source file="{pool}/v-seed.iso"/><target dev="vdb"/><readonly/></disk></devices></domain>
"""


def define(connection: libvirt.virConnect, name: str, disk: str) -> libvirt.virDomain:
    return connection.defineXML(_DOMAIN.format(name=name, disk=disk, pool=POOL))


def owns(path: str) -> bool:
    return path in (f"{POOL}/v.qcow2", f"{POOL}/v-seed.iso")


def test_the_machine_itself_and_files_elsewhere_are_nobody_elses(connection: libvirt.virConnect) -> None:
    define(connection, "lab-v", f"{POOL}/v.qcow2")
    assert users_on(connection, "lab", PurePosixPath(POOL)) == {}
    define(connection, "golden", "/elsewhere/v.qcow2")
    found = users_on(connection, "lab", PurePosixPath(POOL))
    # A seed is only read, as one that virt-clone shares.
    assert found == {f"{POOL}/v-seed.iso": FileUser("golden", runs=False, writes=False)}
    assert in_use(found, owns, only_running=False) == ""


def test_who_writes_to_a_disk_is_named(connection: libvirt.virConnect) -> None:
    golden = define(connection, "golden", f"{POOL}/v.qcow2")
    found = users_on(connection, "lab", PurePosixPath(POOL))
    assert in_use(found, owns, only_running=True) == ""
    assert in_use(found, owns, only_running=False) == (
        f"golden, which is not this lab's, has {POOL}/v.qcow2: undefine it, or give it a copy of its own"
    )
    golden.create()
    # One that is off as well does not hide the one that runs.
    define(connection, "other", f"{POOL}/v.qcow2")
    found = users_on(connection, "lab", PurePosixPath(POOL))
    assert in_use(found, owns, only_running=True) == (
        f"golden, which is not this lab's, runs on {POOL}/v.qcow2: shut it off, or give it a copy of its own"
    )
    assert in_use(found, lambda path: path.endswith("w.qcow2"), only_running=False) == ""


def test_what_is_kept_is_said_of_strays_and_of_others() -> None:
    users = {
        f"{POOL}/v.qcow2": FileUser("golden", runs=True, writes=True),
        f"{POOL}/v.disk1.qcow2": FileUser("theirs", runs=False, writes=True),
    }
    stray = Outcome(HYPERVISOR, "machine", "golden", Status.SKIPPED, None, "there", "a copy")
    assert [(row.name, row.why) for row in kept_rows([stray], users)] == [
        ("golden", f"a copy; kept for it: {POOL}/v.qcow2"),
        ("theirs", f"not this lab's; kept for it: {POOL}/v.disk1.qcow2"),
    ]
    assert kept_rows([stray], {}) == [stray]
