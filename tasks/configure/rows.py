"""From plans to rows: each thing's outcome, from its state before and after, and the host's output."""

from __future__ import annotations

import time
from dataclasses import dataclass, field, replace

from labrun.outcome import Outcome, Status
from labrun.tasks.configure.confirmation import RollbackResult
from labrun.tasks.configure.guard_script import guarded
from labrun.tasks.configure.plan import HostPlan
from labrun.tasks.guest.facts.guard import Standing
from labrun.tasks.guest.shell import Captured, Facts
from labrun.tasks.state.item import Item, Words
from labrun.tasks.state.rows import row_of, standing

__all__ = ["OutcomeBuilder"]


@dataclass(frozen=True, slots=True)
class OutcomeBuilder:
    """One host's run so far, with its initial plan; every method returns the rows of one ending."""

    host: str
    before: HostPlan
    started: float = field(default_factory=time.monotonic)

    def untouched(self, *, dry_run: bool = False) -> list[Outcome]:
        """Return the rows if nothing was changed: nothing had to be, or it is a dry run."""
        rows = []
        for (section, _), item in self.before.items().items():
            row = self._row(section, item, *standing(item))
            if item.state == "change" and dry_run:
                row = replace(row, status=Status.WOULD_CHANGE, why=item.why)
            rows.append(row)
        return rows

    def interrupted(self) -> list[Outcome]:
        """Return the rows if the run was to stop before any change."""
        return [
            replace(row, status=Status.UNKNOWN, why="interrupted before anything was changed")
            if item.state == "change"
            else row
            for row, item in zip(self.untouched(), self.before.items().values(), strict=True)
        ]

    def refused(self, why: str) -> list[Outcome]:
        """Return the rows if the whole change was refused."""
        return [
            replace(row, status=Status.FAILED, why=f"nothing was changed: {why}")
            if item.state == "change"
            else row
            for row, item in zip(self.untouched(), self.before.items().values(), strict=True)
        ]

    def taken(self, run: str, by: str) -> list[Outcome]:
        """Return the rows if another attempt of this run has begun before: what that does is unknown here."""
        why = f"nothing was changed: run {run} has begun here before (attempt {by})"
        return [
            replace(row, status=Status.UNKNOWN, why=why) if item.state == "change" else row
            for row, item in zip(self.untouched(), self.before.items().values(), strict=True)
        ]

    def borrowed(self, held: Standing, *, dry_run: bool = False) -> list[Outcome]:
        """Return the rows of a host where another run's change is pending and may still be rolled back."""
        return [
            replace(row, status=Status.UNKNOWN, why=held.borrowed)
            if item.state == "ok" or (dry_run and item.state == "change")
            else row
            for row, item in zip(self.refused(str(held)), self.before.items().values(), strict=True)
        ]

    def changed(self, left: HostPlan, output: Facts) -> list[Outcome]:
        """Return the rows after a change that stays; ``left`` is what a new login found."""
        after = left.items()
        rows = [
            self._after(section, item, after.get((section, name)), output)
            for (section, name), item in self.before.items().items()
        ]
        return rows + self._added(left, output)

    def rolled_back(
        self, fault: str, back: RollbackResult, left: HostPlan | None, output: Facts
    ) -> list[Outcome]:
        """Return the rows after a change that could not stay.

        ``fault`` is the reason; ``left`` is the plan over a new login before the host rolled back, None
        without one.
        """
        covered = {part.section for part in guarded(self.before)}
        now = back.seen.plan.items() if back.seen is not None else {}
        then = left.items() if left is not None else {}
        rows = []
        for (section, name), item in self.before.items().items():
            key = (section, name)
            if back.seen is not None and (section not in covered or item.state != "change"):
                rows.append(self._after(section, item, now.get(key), output))
                continue
            if item.state != "change":
                rows.append(self._row(section, item, *standing(item)))
                continue
            own = _own_reason(item, then.get(key), output.commands.get(section)) or fault
            rows.append(self._rolled_back(section, item, now.get(key), own, back))
        return rows

    def _rolled_back(
        self, section: str, item: Item, now: Item | None, why: str, back: RollbackResult
    ) -> Outcome:
        if back.seen is None:
            undone = section in back.put_back
            ending = "the change was rolled back" if undone else back.otherwise
            status = Status.FAILED if undone else Status.UNKNOWN
            return self._row(section, item, status, f"{why}; {ending}")
        if back.differences or back.goes_on:
            first, *others = back.differences or ("it does not say what",)
            more = f" (and {len(others)} more)" if others else ""
            ending = "; the host keeps trying" if back.goes_on else ""
            row = self._row(section, now or Item(item.name), Status.FAILED, None)
            why = f"{why}; the host rolled back, not as before: {first}{more}{ending}"
            return replace(row, why=why, expected=item.expected)
        if now is None or item != now:
            shown = now or Item(item.name)
            why = f"{why}; the host rolled back, but this is not as it was before"
            return replace(self._row(section, shown, Status.FAILED, why), expected=item.expected)
        return self._row(section, item, Status.ROLLED_BACK, f"{why}; the host rolled back")

    def _after(self, section: str, item: Item, now: Item | None, output: Facts) -> Outcome:
        """Return the row of a thing that was read before and after."""
        if item.state in ("skipped", "refused", "left"):
            return self._row(section, item, *standing(item))
        if item.state == "ok":
            if now is None or now.state == "ok":
                return self._row(section, item, Status.OK, None)
            # What was right before and no longer is was broken by this run.
            return self._row(section, now, Status.FAILED, now.why or "it was as declared before this run")
        if now is None:
            gone = Item(item.name, words=Words(item.expected, item.expected))
            return replace(self._row(section, gone, Status.CHANGED, item.why, item.diff), before=item.actual)
        if now.state == "ok":
            return replace(self._row(section, now, Status.CHANGED, None, item.diff), before=item.actual)
        why = _reason(now, output.commands.get(section))
        return self._row(section, now, Status.FAILED, why, item.diff)

    def _added(self, left: HostPlan, output: Facts) -> list[Outcome]:
        """Return rows for things that did not exist before and are not as declared now."""
        known = self.before.items()
        return [
            self._row(section, item, Status.FAILED, _reason(item, output.commands.get(section)))
            for (section, name), item in left.items().items()
            if (section, name) not in known and item.state not in ("ok", "left")
        ]

    def _row(
        self, section: str, shown: Item, status: Status, why: str | None, diff: str | None = None
    ) -> Outcome:
        seconds = time.monotonic() - self.started
        return row_of(self.host, section, shown, status, why, diff=diff, seconds=seconds)


def _own_reason(item: Item, left: Item | None, output: Captured | None) -> str | None:
    """Return why this very thing did not take effect, None if it did or could not be read."""
    if left is None or left.state == "ok":
        return None
    return _reason(left, output)


def _reason(now: Item, output: Captured | None) -> str:
    """Return why a change failed: the host's message about this thing, otherwise its last message."""
    if output is not None and output.status != 0:
        lines = [line.strip() for line in output.text.splitlines()]
        own = [line.removeprefix(f"{now.name}: ") for line in lines if line.startswith(f"{now.name}: ")]
        return own[-1] if own else output.last_line
    return now.why or "it was set but did not take effect"
