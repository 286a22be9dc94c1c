"""A lesson: its faults so far and their results, kept in the state directory, packed like a planted fault."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from labrun.errors import LabrunError
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.commands.faults.fault_state import Planted, hints_text, packed, unpacked
from labrun.state_files import read_or_reset, write_private

if TYPE_CHECKING:
    from labrun.state import LabState

__all__ = ["MOST_POINTS", "Done", "Lesson", "forget_lesson", "recall_lesson", "remember_lesson"]

MOST_POINTS = 4
"""Points for a fault that is mended by hand without a hint; each hint costs one."""
_LARGEST = 256 * 1024


@dataclass(frozen=True, slots=True)
class Done:
    """One fault that is over: ``seconds`` from planting to the end, how many ``hints`` it took.

    ``aids`` are the commands that name or mend faults by themselves, used meanwhile. ``given_up`` = it was
    not mended.
    """

    fault: str
    host: str
    level: str
    hints: int
    seconds: float
    aids: tuple[str, ...] = ()
    given_up: bool = False

    @property
    def points(self) -> int:
        """Return the points: none for one that is given up, or that labrun named or mended."""
        return 0 if self.given_up or self.aids else max(MOST_POINTS - self.hints, 0)

    @property
    def told(self) -> str | None:
        """Return what took the points, None if nothing did."""
        if self.given_up:
            return "given up"
        if self.aids:
            return f"with {', '.join(f'labrun {each}' for each in self.aids)}"
        return hints_text(self.hints) if self.hints else None


@dataclass(frozen=True, slots=True)
class Lesson:
    """A lesson of ``count`` faults of one ``level``, None for any, with those that are over in ``done``."""

    count: int
    level: str | None
    seed: int | None
    done: tuple[Done, ...] = ()

    @property
    def is_over(self) -> bool:
        """Return whether no fault is left."""
        return len(self.done) >= self.count

    @property
    def points(self) -> int:
        """Return the points so far."""
        return sum(each.points for each in self.done)

    @property
    def score(self) -> str:
        """Return ``7 of 20 points, 2 of 5 faults``."""
        solved = sum(not each.given_up for each in self.done)
        return f"{self.points} of {MOST_POINTS * self.count} points, {solved} of {self.count} faults mended"

    def rows(self, current: Planted | None) -> list[Outcome]:
        """Return a row for each fault: ok, failed if it was given up, pending if it is to come."""
        rows = [
            Outcome(
                each.host,
                "lesson",
                f"{number}: {each.fault}",
                Status.FAILED if each.given_up else Status.OK,
                expected=f"{MOST_POINTS} points",
                actual=f"{each.points} point{'' if each.points == 1 else 's'}",
                why=each.told,
                seconds=each.seconds,
            )
            for number, each in enumerate(self.done, 1)
        ]
        for number in range(len(rows) + 1, self.count + 1):
            is_now = current is not None and number == len(self.done) + 1
            hints = hints_text(current.given) if current is not None and is_now else None
            why = "not mended yet" if is_now else "not planted yet"
            rows.append(Outcome(HYPERVISOR, "lesson", f"{number}", Status.PENDING, actual=why, why=hints))
        return rows

    def as_json(self) -> dict[str, Any]:
        """Return the lesson for a document: its faults, points, and whether it is over."""
        faults = [{**asdict(each), "aids": list(each.aids), "points": each.points} for each in self.done]
        return {
            "count": self.count,
            "level": self.level,
            "faults": faults,
            "points": self.points,
            "out_of": MOST_POINTS * self.count,
            "over": self.is_over,
        }


def remember_lesson(state: LabState, lesson: Lesson) -> None:
    """Record the lesson."""
    write_private(state.lesson, packed(asdict(lesson)))


def recall_lesson(state: LabState) -> Lesson:
    """Return the lesson. Raises LabrunError if there is none; an invalid file is set aside."""
    nothing: Lesson | None = None
    lesson = read_or_reset(state.lesson, _parsed, nothing, largest=_LARGEST)
    if lesson is None:
        raise LabrunError("there is no lesson in this lab", hint="`labrun lesson start` begins one")
    return lesson


def _parsed(data: bytes) -> Lesson:
    content = unpacked(data)
    done: Sequence[dict[str, Any]] = content["done"]
    return Lesson(
        int(content["count"]),
        content["level"],
        content["seed"],
        tuple(Done(**{**each, "aids": tuple(each["aids"])}) for each in done),
    )


def forget_lesson(state: LabState) -> None:
    """Delete the record, if there is one."""
    state.lesson.unlink(missing_ok=True)
