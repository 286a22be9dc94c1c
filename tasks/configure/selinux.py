"""SELinux: the mode in force, and the one that /etc/selinux/config sets at the next boot."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace

from labrun.inventory.model import Host, Lab
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.guest.scripts import assigned, guest_script
from labrun.tasks.guest.shell import Facts, Probe, install, quote
from labrun.tasks.state.item import NOTHING, Item, Words
from labrun.tasks.state.sections import SELINUX

__all__ = ["CONFIG", "Selinux"]

(CONFIG,) = SELINUX.files
_ENFORCE = "/sys/fs/selinux/enforce"
_NAME = "mode"
_MODES = {"0": "permissive", "1": "enforcing"}
_LINE = re.compile(r"^[ \t]*SELINUX[ \t]*=[ \t]*([a-z]*).*$", re.MULTILINE | re.IGNORECASE)
_TYPE = re.compile(r"^[ \t]*SELINUXTYPE[ \t]*=[ \t]*(\S+)", re.MULTILINE | re.IGNORECASE)
_PROBE = assigned({"enforce": _ENFORCE}) + guest_script("selinux_state")


@dataclass(frozen=True, slots=True)
class _Observed:
    """The state of SELinux: ``live`` None = disabled, ``at_boot`` None = not set in the file."""

    live: str | None
    at_boot: str | None
    config: str | None
    writable: bool
    policies: tuple[str, ...]

    @property
    def has_policy(self) -> bool:
        """Tell whether a policy of the type requested at boot is installed."""
        kind = _TYPE.search(self.config or "")
        start = f"/etc/selinux/{kind[1]}/" if kind else "/etc/selinux/"
        return any(policy.startswith(start) for policy in self.policies)

    def can_become(self, mode: str) -> bool:
        """Tell whether the running kernel has this mode or can be switched to it."""
        return mode == self.live or (mode != "disabled" and self.live is not None)


class Selinux:
    """The resource ``selinux``: one row, ``mode``."""

    section = SELINUX.name

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return ``{"mode": …}``; None if the lab file does not declare it."""
        return {"mode": host.selinux} if host.selinux is not None else None

    def names(self, want: Json) -> tuple[str, ...]:
        """Return the one row's name."""
        return (_NAME,)

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Read the kernel's mode, the file, and the installed policies."""
        return (Probe((_ENFORCE, CONFIG), _PROBE),)

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return what differs; ``disabled`` needs a reboot: a running kernel cannot drop SELinux."""
        mode, have = str(want["mode"]), _observe(facts)
        item = _item(mode, have)
        if item.state != "change":
            return SectionPlan(self.section, (item,))
        set_live = have.can_become(mode) and have.live != mode
        return SectionPlan(
            self.section,
            (item,),
            _apply(mode, have, set_live),
            _undo(have, set_live),
            self.explain(want),
            saves=(CONFIG,),
        )

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return setenforce and the edit of the file."""
        mode = str(want["mode"])
        edit = f"sed -i 's/^SELINUX=.*/SELINUX={mode}/' {CONFIG}"
        return (edit,) if mode == "disabled" else (f"setenforce {mode.capitalize()}", edit)


def _item(mode: str, have: _Observed) -> Item:
    live, at_boot = have.live or "disabled", have.at_boot or "disabled"
    item = Item(_NAME, {"": mode}, {"": live}, later={"": at_boot})
    if have.live is None and have.config is None and mode != "disabled":
        return replace(item, skipped="no SELinux in this kernel")
    if have.live is not None and not have.writable:
        return replace(item, later=NOTHING, skipped="SELinux belongs to the machine, not the container")
    if mode == "enforcing" and not have.has_policy:
        why = "no SELinux policy is installed here, and without one the next boot would halt"
        return replace(item, refused=why)
    if have.can_become(mode):
        return item
    # Then only the file counts, and what it says takes a reboot.
    note, words = f"{mode} only after a reboot", Words(actual=item.actual)
    return replace(item, have={"": at_boot}, note=note, words=words)


def _observe(facts: Facts) -> _Observed:
    config = facts.files.get(CONFIG)
    line = _LINE.search(config or "")
    return _Observed(
        live=_MODES.get(facts.files.get(_ENFORCE, "").strip()),
        at_boot=line[1].lower() if line else None,
        config=config,
        writable="selinux-writable" in facts.words,
        policies=tuple(w.partition(" ")[2] for w in sorted(facts.words) if w.startswith("selinux-policy ")),
    )


def _configured(config: str | None, mode: str) -> str:
    """Return the file with this mode, all other lines unchanged."""
    if config is None:
        return f"SELINUX={mode}\nSELINUXTYPE=default\n"
    if _LINE.search(config):
        return _LINE.sub(f"SELINUX={mode}", config, count=1)
    return f"{config.rstrip()}\nSELINUX={mode}\n"


def _number(mode: str) -> str:
    return next(number for number, name in _MODES.items() if name == mode)


def _apply(mode: str, have: _Observed, set_live: bool) -> str:
    text = install(CONFIG, _configured(have.config, mode), "0644") if have.at_boot != mode else ""
    return text + (f"printf %s {_number(mode)} >{_ENFORCE}\n" if set_live else "")


def _undo(have: _Observed, set_live: bool) -> str:
    live = (
        f'[ "$on" != live ] || printf %s {_number(have.live)} >{_ENFORCE}\n' if set_live and have.live else ""
    )
    return f"{live}restore {quote(CONFIG)}\n"
