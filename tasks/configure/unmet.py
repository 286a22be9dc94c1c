"""What a new login finds wrong with a change: the plan from before it against the one after."""

from __future__ import annotations

from labrun.tasks.configure.guard_script import guarded
from labrun.tasks.configure.plan import HostPlan
from labrun.tasks.state.sections import SSHD

__all__ = ["unmet"]


def unmet(plan: HostPlan, now: HostPlan) -> str | None:
    """Return why a change is not to be confirmed, None if the host is as it was to be.

    ``plan`` is what the change was made from, ``now`` what is left to do after it.
    """
    return _not_in_place(plan, now) or _broken(plan, now) or _lost(plan, now) or _new_unit_fault(plan, now)


def _not_in_place(plan: HostPlan, now: HostPlan) -> str | None:
    """Return which of the changes is not in place."""
    after = {part.section: part for part in now.sections}
    for part in guarded(plan):
        left = after.get(part.section)
        if not part.partial and left is not None and left.apply:
            return ", ".join(f"{part.section} {item.name}" for item in left.changes) + " did not take effect"
    return None


def _broken(plan: HostPlan, now: HostPlan) -> str | None:
    """Return what was as declared before the change and no longer is: a side effect of its command.

    A unit, a file or a name is not needed to log in: it fails on its own row.
    """
    held = {key for key, item in plan.items().items() if item.state == "ok"}
    for part in now.sections:
        if part.partial or part.harmless:
            continue
        names = [item.name for item in part.changes if (part.section, item.name) in held]
        if names:
            return (
                ", ".join(f"{part.section} {name}" for name in names) + " was as declared before this change"
            )
    return None


def _lost(plan: HostPlan, now: HostPlan) -> str | None:
    """Return what could be determined before and no longer can, whichever section changed."""
    found = now.items()
    alone = {part.section for part in plan.sections if part.partial}
    for (section, name), item in plan.items().items():
        here = found.get((section, name))
        if here is None or here.state != "refused" or item.state == "refused":
            continue
        # Findings of the plan, such as a file that takes precedence, are nothing new.
        if here.why == item.why or (section in alone and item.state == "change"):
            continue
        return here.why or f"{section} {name} cannot be determined"
    return None


def _new_unit_fault(plan: HostPlan, now: HostPlan) -> str | None:
    """Return why the next boot would no longer start sshd: there is a row of its unit only then."""
    for (section, name), item in now.items().items():
        if section == SSHD.name and name.endswith(".service") and (section, name) not in plan.items():
            return item.why
    return None
