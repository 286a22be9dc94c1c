"""What comes before a machine's services at the next boot: boot loader, kernel, drivers, mounts.

None of it can be tried while the machine is up. So what the boot loader would do is compared with what it
would have done before the change; drivers and mounts are asked for without effect.
"""

from __future__ import annotations

from collections.abc import Iterator

from labrun.tasks.guest.shell import Facts

__all__ = ["chain_faults"]

_PARTS = {"kernel": "the kernel", "initrd": "the early userland"}
# Words for the kernel that make another boot of it.
_OTHER_INIT = ("init=", "rdinit=", "systemd.unit=", "systemd.mask=", "rd.break")
_OTHER_LEVEL = frozenset({"single", "emergency", "rescue", "s", "S", "1", "-s", "-b"})


def chain_faults(facts: Facts) -> Iterator[str]:
    """Yield what would keep the next boot from its services and its NICs, each new since the change."""
    yield from _fstab_faults(facts)
    before, now = facts.lines("boot-chain-before"), facts.lines("boot-chain")
    yield from _loader_faults(before, now)
    for line in facts.lines("boot-images"):
        kind, _, rest = line.partition(" ")
        name, _, reason = rest.partition(" ")
        yield f"the next boot would fail: {name}, {_PARTS.get(kind, kind)}, {reason}"
    for line in facts.lines("boot-words"):
        word, _, module = line.partition(" ")
        yield f"the next boot would not load {module}: the boot loader tells the kernel {word}"
    for line in facts.lines("boot-locks"):
        nic, module, path = line.split(" ", 2)
        yield (
            f"{nic} would be missing after the next boot: {path} forbids to load modules before its driver "
            f"{module} is there"
        )
    for line in facts.lines("boot-drivers"):
        nic, _, module = line.partition(" ")
        yield f"{nic} would be missing after the next boot: modprobe would not load its driver {module}"


def _fstab_faults(facts: Facts) -> Iterator[str]:
    before = set(_errors(facts.lines("boot-fstab-before")))
    for line in _errors(facts.lines("boot-fstab")):
        if line not in before:
            yield f"/etc/fstab would stop the next boot: {line}"
    for line in facts.lines("boot-mounts"):
        yield f"/etc/fstab would stop the next boot: {line}"


def _errors(lines: list[str]) -> Iterator[str]:
    """Yield findmnt's errors, with the mount point that each is listed under."""
    place = ""
    for line in lines:
        if line and not line[0].isspace():
            place = line.strip()
        # systemd makes a folder to mount on where there is none.
        elif "[E]" in line and "required target" not in line:
            yield f"{place}: {line.partition('[E]')[2].strip()}"


def _loader_faults(before: list[str], now: list[str]) -> Iterator[str]:
    """Yield what the boot loader would not find, and what it would tell the kernel to do otherwise."""
    if not before:
        return
    loader = before[0].removeprefix("loader ")
    if not any(line.startswith("loader ") for line in now):
        yield f"the boot loader would find no {loader} at the next boot"
        return
    if not _has_kernel(now) and _has_kernel(before):
        yield f"{loader} would start no kernel at the next boot"
    # Paths of the boot loader that cannot be told, as on a subvolume, were not there before either.
    untold = {line.partition(" ")[0] for line in before if line.endswith(" gone")}
    for line in now:
        kind, _, rest = line.partition(" ")
        if kind in untold or not rest.endswith(" gone"):
            continue
        name = rest.removesuffix(" gone")
        if kind in _PARTS:
            yield f"the next boot would not find {name}, {_PARTS[kind]} that {loader} names"
        elif kind == "root":
            yield f"the next boot would not find its root: {loader} names {name}"
    known = _words(before)
    for word in _words(now):
        if word not in known and (word.startswith(_OTHER_INIT) or word in _OTHER_LEVEL):
            yield f"the next boot would be another one: {loader} tells the kernel {word}"


def _has_kernel(lines: list[str]) -> bool:
    return any(line.startswith("kernel ") for line in lines)


def _words(lines: list[str]) -> list[str]:
    return [word for line in lines if line.startswith("words ") for word in line.split()[1:]]
