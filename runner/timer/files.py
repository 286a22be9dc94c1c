"""Install a schedule's units where systemd reads them: all of them, or none."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping
from pathlib import Path

from labrun.errors import LabrunError
from labrun.runner.timer.systemd import Systemd
from labrun.runner.timer.units import MARK, unit_name

__all__ = ["install_units", "other_lab_file", "remove_units", "scheduled"]


def other_lab_file(systemd: Systemd, units: Mapping[str, str]) -> str | None:
    """Return the other lab file that the installed units belong to, None if there is none.

    Raises LabrunError for a unit that labrun did not write.
    """
    for unit, text in units.items():
        path = systemd.directory / unit
        first = (_ours(path) or "").partition("\n")[0]
        if first and first != text.partition("\n")[0]:
            return first.removeprefix(f"{MARK} for ")
    return None


def install_units(systemd: Systemd, lab: str, units: Mapping[str, str], *, at_once: bool = False) -> set[str]:
    """Write the units that differ, and start the timer. Return the names of the changed units.

    ``at_once`` starts a first run if a unit changed, without waiting for it. Raises LabrunError, after
    restoring the previous units.
    """
    timer = f"{unit_name(lab)}.timer"
    before = {unit: _ours(systemd.directory / unit) for unit in units}
    changed = {unit for unit, text in units.items() if before[unit] != text}
    try:
        for unit in changed:
            _write(systemd.directory / unit, units[unit])
        if changed:
            systemd.call("daemon-reload")
        state = systemd.show(timer, "ActiveState", "UnitFileState")
        if changed or state != {"ActiveState": "active", "UnitFileState": "enabled"}:
            systemd.call("enable", timer)
            systemd.call("restart", timer)
        if changed and at_once:
            systemd.call("start", "--no-block", f"{unit_name(lab)}.service")
    except LabrunError:
        _put_back(systemd, before)
        raise
    return changed


def _put_back(systemd: Systemd, before: Mapping[str, str | None]) -> None:
    new = [unit for unit, text in before.items() if text is None]
    if timers := [unit for unit in new if unit.endswith(".timer")]:
        with contextlib.suppress(LabrunError):
            systemd.call("disable", "--now", *timers)
    for unit, text in before.items():
        with contextlib.suppress(LabrunError):
            if text is None:
                _unlink(systemd.directory / unit)
            else:
                _write(systemd.directory / unit, text)
    with contextlib.suppress(LabrunError):
        systemd.call("daemon-reload")


def remove_units(systemd: Systemd, lab: str) -> list[str]:
    """Stop the timer and a run in progress, and remove the units.

    Return their names. Raises LabrunError.
    """
    name = unit_name(lab)
    units = [f"{name}.timer", f"{name}.service"]
    installed = [unit for unit in units if _ours(systemd.directory / unit) is not None]
    if installed and systemd.is_running:
        if timers := [unit for unit in installed if unit.endswith(".timer")]:
            systemd.call("disable", "--now", *timers)
        # A run may be in progress. It only reads, so it can be stopped.
        systemd.call("stop", f"{name}.service")
    for unit in installed:
        _unlink(systemd.directory / unit)
    if installed and systemd.is_running:
        systemd.call("daemon-reload")
        # A failed run stays in systemd's list of units until it is reset.
        with contextlib.suppress(LabrunError):
            systemd.call("reset-failed", *units)
    with contextlib.suppress(OSError):
        (_stamps(systemd) / f"stamp-{name}.timer").unlink(missing_ok=True)
    return installed


def scheduled(lab: str) -> list[str]:
    """Return a line for each installed schedule of the lab, system-wide and the user's."""
    unit = f"{unit_name(lab)}.timer"
    return [
        f"its schedule stays ({unit}): `labrun schedule remove{' --user' if user else ''}` removes it"
        for user in (False, True)
        if (Systemd(user).directory / unit).exists()
    ]


def _stamps(systemd: Systemd) -> Path:
    """Return the directory in which systemd records the last run of persistent timers."""
    if not systemd.user:
        return Path("/var/lib/systemd/timers")
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "systemd" / "timers"


def _ours(path: Path) -> str | None:
    """Return a unit's text, None if it does not exist. Raises LabrunError if labrun did not write it."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise LabrunError(f"cannot read {path}: {error}") from error
    if not text.startswith(MARK):
        raise LabrunError(f"{path} is not labrun's", hint="labrun did not write it: remove it yourself")
    return text


def _write(path: Path, text: str) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        path.chmod(0o644)
    except OSError as error:
        hint = "--user installs for you alone" if isinstance(error, PermissionError) else None
        raise LabrunError(f"cannot write {path}: {error.strerror}", hint=hint) from error


def _unlink(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise LabrunError(f"cannot remove {path}: {error.strerror}") from error
