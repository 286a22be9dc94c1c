"""The same schedule as a crontab line, which supports neither seconds nor jitter."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from labrun.errors import UsageError

__all__ = ["cron_line"]

_MINUTE, _HOUR, _DAY = 60, 3600, 86400


def cron_line(command: Sequence[str], every: float) -> str:
    """Return the line of a crontab. Raises UsageError for an interval that cron cannot express."""
    # cron takes a % as the end of the command, quoted or not.
    words = shlex.join(command).replace("%", "\\%")
    if "\n" in words:
        raise UsageError("a crontab line cannot contain a newline")
    return f"{_fields(int(every))} {words}\n"


def _fields(every: int) -> str:
    if every == _DAY:
        return "0 0 * * *"
    if every % _HOUR == 0 and _DAY % every == 0:
        return "0 * * * *" if every == _HOUR else f"0 */{every // _HOUR} * * *"
    if every % _MINUTE == 0 and _HOUR % every == 0:
        return "* * * * *" if every == _MINUTE else f"*/{every // _MINUTE} * * * *"
    raise UsageError(
        f"cron cannot say every {every} s",
        hint="whole minutes that divide an hour, or whole hours that divide a day, such as 15m or 6h",
    )
