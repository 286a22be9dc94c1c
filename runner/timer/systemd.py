"""Operations on systemd: verify, enable and query units."""

from __future__ import annotations

import getpass
import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from labrun.errors import LabrunError, UsageError
from labrun.state_folders import xdg_base

__all__ = ["Systemd", "TimerTimes", "check_calendar"]

_SECONDS = 60.0
_LINGER = Path("/var/lib/systemd/linger")


@dataclass(frozen=True, slots=True)
class TimerTimes:
    """When a timer elapses, in seconds since the epoch; None for never."""

    last: float | None
    next: float | None


@dataclass(frozen=True, slots=True)
class Systemd:
    """The system manager, or with ``user`` that of the user who runs labrun."""

    user: bool

    @property
    def directory(self) -> Path:
        """Return the directory of the administrator's, or the user's, units."""
        if not self.user:
            return Path("/etc/systemd/system")
        return xdg_base("XDG_CONFIG_HOME", ".config") / "systemd" / "user"

    @property
    def scope(self) -> str:
        """Return the systemctl option for this manager."""
        return "--user" if self.user else "--system"

    @property
    def is_running(self) -> bool:
        """Return whether this manager is running."""
        if self.user:
            return (_runtime_directory() / "systemd" / "private").exists()
        return Path("/run/systemd/system").is_dir()

    def require(self) -> None:
        """Raise LabrunError if this manager is not running."""
        if self.is_running:
            return
        what = "systemd is not running for this user here" if self.user else "systemd is not running here"
        raise LabrunError(
            what,
            hint="`labrun schedule install --cron` prints a line for cron, "
            "`labrun drift --every 15m` repeats in the foreground",
        )

    def call(self, *words: str) -> str:
        """Run systemctl and return its output. Raises LabrunError."""
        return _run(["systemctl", self.scope, *words])

    def show(self, unit: str, *properties: str) -> dict[str, str]:
        """Return properties of a unit, times in UTC. They are empty or zero for a missing unit."""
        lines = self.call("show", unit, f"--property={','.join(properties)}").splitlines()
        return {name: value for name, _, value in (line.partition("=") for line in lines)}

    def timer(self, unit: str) -> TimerTimes:
        """Return when a timer last elapsed and when it will next."""
        listed = json.loads(self.call("list-timers", "--all", "--output=json", unit) or "[]")
        timer = listed[0] if listed else {}
        last, following = (timer[key] / 1e6 if timer.get(key) else None for key in ("last", "next"))
        return TimerTimes(last, following)

    def verify(self, units: Mapping[str, str]) -> str | None:
        """Return None if systemd accepts the units, or the reason why that could not be checked.

        Raises LabrunError with systemd's messages if it does not.
        """
        with tempfile.TemporaryDirectory(prefix="labrun-units-") as folder:
            paths = [Path(folder) / name for name in units]
            for path, text in zip(paths, units.values(), strict=True):
                path.write_text(text, encoding="utf-8")
            command = [
                "systemd-analyze",
                self.scope,
                "verify",
                "--man=no",
                "--recursive-errors=no",
                *map(str, paths),
            ]
            try:
                done = _call(command)
            except FileNotFoundError:
                return "systemd-analyze is not installed"
            messages = [line.replace(f"{folder}/", "") for line in done.stderr.splitlines()]
            relevant = [line for line in messages if any(name in line for name in units)]
            if relevant:
                raise LabrunError("; ".join(relevant), step="systemd-analyze verify")
            return (
                None if done.returncode == 0 else messages[-1] if messages else f"exit code {done.returncode}"
            )

    @property
    def lingers(self) -> bool:
        """Return whether this user's units also run while the user is not logged in."""
        # This is the file that logind uses. Asking logind takes long if it does not answer.
        return (_LINGER / getpass.getuser()).exists()

    def linger(self) -> None:
        """Enable lingering, so that this user's units run without a login. Raises LabrunError."""
        _run(["loginctl", "enable-linger", getpass.getuser()])


def check_calendar(expression: str) -> None:
    """Raise UsageError if systemd cannot parse the expression. Skip the check if its tools are missing."""
    try:
        done = _call(["systemd-analyze", "calendar", expression])
    except FileNotFoundError:
        return
    if done.returncode != 0:
        raise UsageError(
            f'--calendar: "{expression}" is not a time that systemd understands',
            hint="man 7 systemd.time: Mon..Fri 06:00",
        )


def _runtime_directory() -> Path:
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")


def _call(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "LC_ALL": "C.UTF-8", "SYSTEMD_COLORS": "0", "SYSTEMD_PAGER": "", "TZ": "UTC"}
    environment["XDG_RUNTIME_DIR"] = str(_runtime_directory())
    try:
        return subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise LabrunError(f"{command[0]} did not answer within {_SECONDS:g} s") from error


def _run(command: Sequence[str]) -> str:
    try:
        done = _call(command)
    except FileNotFoundError as error:
        raise LabrunError(f"{command[0]} is not installed") from error
    if done.returncode != 0:
        messages = done.stderr.strip().splitlines()
        raise LabrunError(
            messages[-1] if messages else f"exit code {done.returncode}", step=" ".join(command[:3])
        )
    return done.stdout
