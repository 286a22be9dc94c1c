"""CI gives a test that failed a second try (``--reruns 1``), says so at the end, and allows only a few.

What is tested is real: hosts that boot, sshd, NetworkManager, timers, on a machine whose load nobody knows. A
test that failed once is still a fault, of labrun or of the test, so its first failure is shown in full.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

__all__ = ["MOST", "SecondTries"]

MOST = 3
"""The number of tests of one run that may pass at the second try only; with more, the run has failed."""


class SecondTries:
    """A plugin for the process that reports: shows the first failures, and limits their number."""

    def __init__(self, most: int = MOST) -> None:
        """Allow ``most`` of them."""
        self._most = most
        self._failed: list[Any] = []

    def pytest_runtest_logreport(self, report: Any) -> None:
        """Note a first failure."""
        if report.outcome == "rerun":
            self._failed.append(report)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionfinish(self, session: pytest.Session, exitstatus: int) -> None:
        """Let the run fail if there are too many."""
        if len(self._failed) > self._most and exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: Any) -> None:
        """Show each in full, and then their names."""
        if not self._failed:
            return
        terminalreporter.section("passed or failed only at the second try")
        for report in self._failed:
            terminalreporter.section(report.nodeid, "_")
            terminalreporter.line(report.longreprtext)
        for line in self.closing([report.nodeid for report in self._failed]):
            terminalreporter.line(line)

    def closing(self, names: Sequence[str]) -> list[str]:
        """Return the names of the tests, and the verdict if there are too many."""
        lines = [f"SECOND TRY {name}" for name in names]
        if len(names) > self._most:
            lines.append(
                f"{len(names)} tests needed a second try, at most {self._most} may: the run has failed"
            )
        return lines
