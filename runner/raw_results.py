"""With -vv: what Nornir's tasks returned, as nornir-utils prints it, on stderr."""

from __future__ import annotations

import sys
from contextlib import redirect_stdout

from nornir.core.inventory import Host
from nornir.core.task import AggregatedResult, MultiResult, Task

__all__ = ["RawResults"]


class RawResults:
    """A Nornir processor that prints each task's results when all of its hosts are done."""

    def task_started(self, task: Task) -> None:
        """Print nothing yet."""

    def task_completed(self, task: Task, result: AggregatedResult) -> None:
        """Print the results of all hosts; stdout stays the place of labrun's own results."""
        from nornir_utils.plugins.functions import print_result

        with redirect_stdout(sys.stderr):
            print_result(result)

    def task_instance_started(self, task: Task, host: Host) -> None:
        """Print nothing."""

    def task_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:
        """Print nothing."""

    def subtask_instance_started(self, task: Task, host: Host) -> None:
        """Print nothing."""

    def subtask_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:
        """Print nothing."""
