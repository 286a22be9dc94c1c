"""What NICs would be called after the next boot.

One that is up keeps its name, so a rule of udev, a ``.link`` file or a word for the kernel that names it
otherwise shows only at the next boot. A profile that goes by the name then no longer finds its NIC.
"""

from __future__ import annotations

from collections.abc import Iterator

from labrun.tasks.guest.shell import Facts

__all__ = ["name_faults"]

_NAMING = ("net.ifnames=", "biosdevname=")


def name_faults(facts: Facts, nic: str, profile: str) -> Iterator[str]:
    """Yield why a NIC would have another name at the next boot, for a profile that goes by its name."""
    for line in facts.lines("boot-names"):
        name, _, other = line.partition(" ")
        if name == nic:
            yield f"{nic} would be called {other} after the next boot, and profile {profile} goes by its name"
    before, now = (_naming_words(facts.lines(name)) for name in ("boot-chain-before", "boot-chain"))
    if before != now and facts.lines("boot-chain-before"):
        words = " ".join(sorted(now)) or f"no longer {' '.join(sorted(before))}"
        yield (
            f"{nic} could have another name after the next boot, and profile {profile} goes by its name: "
            f"the boot loader tells the kernel {words}"
        )


def _naming_words(lines: list[str]) -> frozenset[str]:
    words = (word for line in lines if line.startswith("words ") for word in line.split()[1:])
    return frozenset(word for word in words if word.startswith(_NAMING))
