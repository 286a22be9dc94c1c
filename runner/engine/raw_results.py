"""Print the results of Nornir's tasks on stderr with -vv, in the format of nornir-utils."""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import redirect_stdout
from dataclasses import fields, is_dataclass

from nornir.core.inventory import Host
from nornir.core.task import AggregatedResult, MultiResult, Task

from labrun.secrets import Secrets, mask_settings

__all__ = ["RawResults"]

_COLOUR = re.compile(r"\x1b\[[0-9;]*m")


class RawResults:
    """A Nornir processor that prints a task's results once all of its hosts are done."""

    def task_started(self, task: Task) -> None:
        """Do nothing yet."""

    def task_completed(self, task: Task, result: AggregatedResult) -> None:
        """Print the results of all hosts on stderr; stdout is reserved for labrun's results.

        They contain raw guest output, so secrets are masked once more.
        """
        streams = sys.stdout, sys.stderr
        from nornir_utils.plugins.functions import print_result

        # Its import puts colorama around both, which then adds a sequence to whatever is written.
        sys.stdout, sys.stderr = streams
        with redirect_stdout(io.StringIO()) as printed:
            print_result(result)
        secrets = Secrets.of(_secrets(results[0].host for results in result.values() if results))
        text = printed.getvalue() if sys.stderr.isatty() else _COLOUR.sub("", printed.getvalue())
        sys.stderr.write(secrets.mask(mask_settings(text)))

    def task_instance_started(self, task: Task, host: Host) -> None:
        """Do nothing."""

    def task_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:
        """Do nothing."""

    def subtask_instance_started(self, task: Task, host: Host) -> None:
        """Do nothing."""

    def subtask_instance_completed(self, task: Task, host: Host, result: MultiResult) -> None:
        """Do nothing."""


def _secrets(hosts: Iterable[Host | None]) -> Iterator[str]:
    for host in hosts:
        if host is not None:
            yield from _below(host.data)


def _below(value: object) -> Iterator[str]:
    """Yield every text under a key ``secrets``, at any depth of a host's data."""
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        for key, member in value.items():
            if key == "secrets":
                yield from map(str, member)
            else:
                yield from _below(member)
