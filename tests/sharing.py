"""Which tests stay together where several processes share the work, and which of them begin first.

A module stays together: its tests share a lab. Modules do not meet, each names its labs and subnets itself;
those that do meet are one group here. What takes long comes first: begun last, it would run alone at the end.
"""

from __future__ import annotations

from pathlib import PurePosixPath

from xdist.scheduler import LoadScopeScheduling

__all__ = ["Groups", "group_of", "rank"]

# Virtual machines without KVM take all the processors there are, and their volumes lie in one pool.
_MACHINES = (
    *(
        "vms",
        "vlans_vm",
        "vlan_families_vm",
        "guard_power_loss",
        "selinux",
        "qemu_guest",
        "qemu_driver",
        "choose",
    ),
    *("machines_vm", "image_check", "snapshots_qemu", "snapshots_vm", "vm_changes", "vm_kernel"),
    *("vm_families", "vm_jump_host", "vms_by_hand", "way_in_vm"),
    # These share a hypervisor as well, which is a container with VMs.
    *("second_hypervisor", "systemd_hypervisor", "newer_hypervisor"),
    *("remote_refusals", "remote_limits", "image_uploads"),
)
# For root a lab's lock is one for the machine, and these work on labs of one name.
_DEMO = (
    "drift_options",
    "hostile_words",
    "hypervisor_uri",
    "lab_limits",
    "outputs",
    "schedule",
    "state_room",
)
_LAB = ("runs", "recording", "state_files")
_TOGETHER = {
    **dict.fromkeys(_MACHINES, "machines"),
    # Both make the devices of the network outside, by the same names.
    **dict.fromkeys(("modes", "modes_vm"), "outer segment"),
    # Labs as they are shipped, with their subnets.
    **dict.fromkeys(("tutorial", "examples"), "examples as shipped"),
    # All look at one lab, which the session's fixture brings up in each process that asks for it.
    **dict.fromkeys(("verify", "mended_by_hand", "reboots"), "the example lab"),
    **dict.fromkeys((f"unit/{name}" for name in _DEMO), "labs called demo"),
    **dict.fromkeys((f"unit/{name}" for name in _LAB), "labs called lab"),
}
# Tests of a module on labs of their own.
_APART = {
    ("way_in", "test_of_two_ways_out_the_same_is_taken_as_before"): "way in, two of them",
    ("way_in", "test_a_host_reached_over_ipv6_alone_gets_its_addresses_back"): "way in, two of them",
    ("way_in", "test_further_members_of_each_kind"): "way in, all",
}
# Longest first.
_LONGEST = (
    *(
        "way in, all",
        "machines",
        "way_in",
        "kills",
        "configure",
        "drift",
        "up",
        "guard_window",
        "network_health",
    ),
    *("explain", "silent_hypervisor", "doctor", "unreachable", "readiness", "outer segment", "moved"),
    *(
        "behind_router",
        "links",
        "jump_hosts",
        "way in, two of them",
        "guard",
        "nmcli",
        "resources",
        "stateful_filters",
        "hypervisor_forwards",
        "python_code",
        "init",
        "refusals",
        "show",
        "the example lab",
        "drift_loop",
        "image_build",
        "hypervisor_script",
        "host_bridge",
    ),
    *("inventory_real", "schedule", "existing_machines", "firewall", "scale"),
    *("labs called demo", "labs called lab"),
    # These mostly wait.
    *(f"unit/{name}" for name in ("strange_servers", "cancelling", "guard", "console", "runner_plugin")),
    *(f"unit/{name}" for name in ("transport", "ssh", "ready", "exports")),
)


def group_of(nodeid: str) -> str:
    """Return the name of the group whose tests one process runs one after the other."""
    path, _, test = nodeid.partition("::")
    module = PurePosixPath(path).stem.removeprefix("test_")
    if path.startswith("tests/unit/"):
        return _TOGETHER.get(f"unit/{module}") or path
    return _APART.get((module, test.partition("[")[0])) or _TOGETHER.get(module) or path


def rank(nodeid: str) -> int:
    """Return where its group comes: sorted by this, what takes longest begins first."""
    group = group_of(nodeid)
    name = PurePosixPath(group).stem.removeprefix("test_")
    if group.startswith("tests/unit/"):
        name = f"unit/{name}"
    return _LONGEST.index(name) if name in _LONGEST else len(_LONGEST)


class Groups(LoadScopeScheduling):
    """Hand out whole groups.

    Of xdist's own ways, ``loadfile`` knows files alone, and ``loadgroup`` has no effect with pytest 9.2.
    """

    def _split_scope(self, nodeid: str) -> str:
        return group_of(nodeid)
