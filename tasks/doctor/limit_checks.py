"""Checks of what runs out as a lab grows: kernel limits, memory, space; and of the clock and the programs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from labrun.outcome import Status
from labrun.tasks.doctor.model import Facts, Finding, Space

__all__ = [
    "check_clock",
    "check_image_tools",
    "check_inotify",
    "check_keys",
    "check_memory",
    "check_programs",
    "check_space",
]

# Measured on Debian 12 containers with a login each.
_INOTIFY_PER_CONTAINER = 9
_ROOT_KEYS_PER_CONTAINER = 17
_KEYS_PER_CONTAINER = 4
_USUAL_LAB = 10  # containers that a machine should have room for, without a lab file
_EMULATOR_MIB = 200  # what QEMU needs beside a guest's memory
_SPACE_PER_CONTAINER, _SPACE_PER_VM, _SPACE_AT_LEAST = 0.1, 1.0, 1.0  # GiB
_GIB = 2**30
_MOST_OFF = 1.0  # seconds

# Package on Debian and, where it has another name, on the RHEL family; None = there is none.
_BUILDERS: Final[Mapping[str, tuple[str, str | None]]] = {
    "mmdebstrap": ("mmdebstrap", None),
    "mke2fs": ("e2fsprogs", "e2fsprogs"),
    "mcopy": ("mtools", "mtools"),
    "mkfs.fat": ("dosfstools", "dosfstools"),
    "sfdisk": ("fdisk", "util-linux"),
    "grub-mkimage": ("grub-common", None),
    "qemu-img": ("qemu-utils", "qemu-img"),
}
_PROGRAMS: Final[Mapping[str, tuple[str, str | None]]] = {
    "ssh": ("openssh-client", "openssh-clients"),
    "ip": ("iproute2", "iproute"),
    "nft": ("nftables", "nftables"),
    "nsenter": ("util-linux", "util-linux"),
    "tc": ("iproute2", "iproute-tc"),
    "tcpdump": ("tcpdump", "tcpdump"),
}


def _containers(facts: Facts) -> tuple[int, str]:
    """Return how many containers are still to come, and whose they are."""
    if facts.lab is None:
        return _USUAL_LAB, f"{_USUAL_LAB} containers"
    count = len(facts.containers)
    return count, f"the {count} containers of {facts.lab.name} that are not running yet"


def check_inotify(facts: Facts) -> Iterator[Finding]:
    """Judge whether the kernel has inotify instances left for every container's systemd."""
    limit = int(facts.kernel.get("fs.inotify.max_user_instances", "0"))
    if not limit:
        return
    count, whose = _containers(facts)
    free = max(0, limit - facts.inotify_used)
    needed = count * _INOTIFY_PER_CONTAINER
    if needed <= free:
        room = free // _INOTIFY_PER_CONTAINER
        yield Finding(
            "inotify", Status.OK, f"inotify instances for {room} more containers ({free} of {limit} free)"
        )
        return
    yield Finding(
        "inotify",
        Status.FAILED if facts.lab else Status.WARNING,
        f"{free} of {limit} inotify instances are free, and {whose} take about {needed}",
        "the systemd of a container that gets none does not start its services",
        f"sudo sysctl -w fs.inotify.max_user_instances={max(8192, facts.inotify_used + 2 * needed)}",
    )


def check_keys(facts: Facts) -> Iterator[Finding]:
    """Judge whether the kernel has keys left: containers share the users' quotas with this machine."""
    count, whose = _containers(facts)
    found = False
    others = max((used for uid, used in facts.keys.items() if uid != 0), default=0)
    quotas = (
        ("kernel.keys.maxkeys", others, _KEYS_PER_CONTAINER, "a user", 20_000),
        ("kernel.keys.root_maxkeys", facts.keys.get(0, 0), _ROOT_KEYS_PER_CONTAINER, "root", 1_000_000),
    )
    for key, used, each, who, usual in quotas:
        limit = int(facts.kernel.get(key, "0"))
        if not limit or used + count * each <= limit:
            continue
        found = True
        yield Finding(
            f"keys {key.rpartition('.')[2]}",
            Status.FAILED if facts.lab else Status.WARNING,
            f"{who} has {max(0, limit - used)} of {limit} kernel keys left; {whose} take {count * each}",
            "services and logins in containers fail with `Disk quota exceeded`",
            f"sudo sysctl -w {key}={max(usual, used + 2 * count * each)}",
        )
    if not found:
        yield Finding("keys", Status.OK, "enough kernel keys are left for every container")


def check_memory(facts: Facts) -> Iterator[Finding]:
    """Judge whether the VMs that do not run yet find memory. A container takes what it uses."""
    free = facts.memory // 2**20
    needed = sum(mib + _EMULATOR_MIB for mib in facts.vms.values()) + 30 * len(facts.containers)
    if needed <= free:
        yield Finding("memory", Status.OK, f"{free} MiB of memory are available")
        return
    yield Finding(
        "memory",
        Status.FAILED,
        f"{free} MiB of memory are available, and the machines that are not running yet take about {needed}",
        "the kernel kills the largest process when memory runs out: a guest",
        "smaller `memory:` in the lab file, fewer hosts at a time (`labrun up --hosts A,B`), or: labrun stop",
    )


def check_space(facts: Facts) -> Iterator[Finding]:
    """Judge whether the directories that grow with labs have room."""
    for space in facts.spaces:
        needed = _SPACE_AT_LEAST
        if space.holds == "containers":
            needed += _SPACE_PER_CONTAINER * len(facts.containers)
        else:
            needed += _SPACE_PER_VM * len(facts.vms)
        yield _room(space, needed)


def _room(space: Space, needed: float) -> Finding:
    free = space.free / _GIB
    name = f"space {space.path}"
    if free >= needed:
        return Finding(name, Status.OK, f"{free:.1f} GiB are free in {space.path}, for {space.holds}")
    return Finding(
        name,
        Status.FAILED,
        f"{free:.1f} GiB are free in {space.path}, and {space.holds} here may take {needed:.1f}",
        "guests stop with an I/O error when the disk that holds theirs is full",
        f"sudo du -xh --max-depth=2 {space.path} | sort -h | tail, and remove what is not needed",
    )


def check_image_tools(facts: Facts) -> Iterator[Finding]:
    """Judge whether images can be built and imported here."""
    missing = [name for name in _BUILDERS if name not in facts.programs]
    if not missing:
        yield Finding("image tools", Status.OK, "all programs that build an image are installed")
        return
    wanted = (
        sorted(
            {
                host.machine.image
                for host in facts.lab.hosts.values()
                if host.machine and host.machine.image not in facts.lab.images
            }
        )
        if facts.lab
        else []
    )
    absent = [image for image in wanted if image not in facts.images]
    matters = "`labrun image build` and `import` need them"
    if absent:
        matters = f"the lab's image {', '.join(absent)} is not here, and {matters}"
    elif wanted or facts.images:
        matters += "; the images already here work without them"
    yield Finding(
        "image tools",
        Status.FAILED if absent else Status.WARNING,
        f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed",
        matters,
        _install(facts, {name: _BUILDERS[name] for name in missing}),
    )


def check_programs(facts: Facts) -> Iterator[Finding]:
    """Judge whether the programs that labrun calls are there."""
    missing = [name for name in _PROGRAMS if name not in facts.programs]
    if not missing:
        yield Finding("programs", Status.OK, f"{', '.join(_PROGRAMS)} are installed")
        return
    yield Finding(
        "programs",
        Status.WARNING,
        f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} not installed",
        "`labrun ssh`, `capture`, `tc`, containers and this command need them",
        _install(facts, {name: _PROGRAMS[name] for name in missing}),
    )


def _install(facts: Facts, missing: Mapping[str, tuple[str, str | None]]) -> str:
    if "apt-get" in facts.programs:
        return f"sudo apt-get install {' '.join(sorted({debian for debian, _ in missing.values()}))}"
    known = sorted({redhat for _, redhat in missing.values() if redhat})
    other = [name for name, (_, redhat) in missing.items() if redhat is None]
    import_it = "labrun image import FILE imports a downloaded cloud image" if other else ""
    return "; ".join(filter(None, (f"sudo dnf install {' '.join(known)}" if known else "", import_it)))


def check_clock(facts: Facts) -> Iterator[Finding]:
    """Judge whether something keeps this machine's clock right."""
    clock = facts.clock
    if clock is None:
        return
    if clock.is_synchronised and clock.most_off <= _MOST_OFF:
        off = f"{clock.most_off * 1000:.0f} ms"
        yield Finding("clock", Status.OK, f"the clock is synchronised, at most {off} off")
        return
    off = f"it may be {clock.most_off:.0f} s off" if clock.is_synchronised else "nothing corrects it"
    yield Finding(
        "clock",
        Status.WARNING,
        f"the clock is not synchronised: {off}",
        "guests start with this machine's time: certificates, package signatures and logs depend on it",
        "sudo timedatectl set-ntp true" if "timedatectl" in facts.programs else _chrony(facts),
    )


def _chrony(facts: Facts) -> str:
    return "sudo apt-get install chrony" if "apt-get" in facts.programs else "sudo dnf install chrony"
