"""Build Nornir with labrun's plugins, close the connections it opened, and turn its results into rows."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nornir.core import Nornir
from nornir.core.plugins.runners import RunnerPlugin, RunnersPluginRegister
from nornir.core.state import GlobalState

from labrun.errors import (
    ConnectionLostError,
    HypervisorError,
    LabrunError,
    TransportError,
    UnreadableError,
)
from labrun.outcome import Outcome, Status
from labrun.runner.engine.budget import Budget
from labrun.runner.engine.results import NotStartedError, cause_of
from labrun.runner.engine.runner_plugin import RUNNER, BudgetRunner
from labrun.tasks.guest.jump_host import SHARED
from labrun.tasks.guest.transport import register_connection

if TYPE_CHECKING:
    from nornir.core.inventory import Inventory
    from nornir.core.task import AggregatedResult

__all__ = ["build_nornir", "cause_of", "closing_connections", "outcomes_of", "row_of_error"]

_log = logging.getLogger(__name__)
# Nornir logs every failure with its traceback. Without a handler Python would print it on stderr.
logging.getLogger("nornir").addHandler(logging.NullHandler())


class _NoFailedHosts(set[str]):
    """A ``failed_hosts`` that stays empty, so that a host that failed one task still runs the next.

    Nornir drops such hosts silently. Here each phase names the hosts it runs on.
    """

    def update(self, *others: Iterable[Any]) -> None:
        """Ignore the hosts."""

    def add(self, element: str, /) -> None:
        """Ignore the host."""


def build_nornir(
    inventory: Inventory,
    budget: Budget | None = None,
    *,
    dry_run: bool = False,
    runner: RunnerPlugin | None = None,
) -> Nornir:
    """Return a Nornir with labrun's connection and its runner, or another ``runner``.

    Unlike InitNornir it imports no other plugin, does not configure logging and writes no nornir.log.
    """
    register_connection()
    RunnersPluginRegister.register(RUNNER, BudgetRunner)
    state = GlobalState(dry_run=dry_run)
    state.failed_hosts = _NoFailedHosts()
    nornir = Nornir(inventory=inventory, data=state, runner=runner or BudgetRunner(budget))
    # The root logger is at DEBUG only with -vv; see runner/cli/logs.py.
    if logging.getLogger().isEnabledFor(logging.DEBUG):
        from labrun.runner.engine.raw_results import RawResults

        return nornir.with_processors([RawResults()])
    return nornir


@contextmanager
def closing_connections(inventory: Inventory) -> Iterator[None]:
    """Close every connection of the inventory's hosts after the block, also if it raises.

    An error on one does not keep the others open.
    """
    try:
        yield
    finally:
        for host in inventory.hosts.values():
            for name in list(host.connections):
                try:
                    host.close_connection(name)
                except Exception:  # noqa: BLE001 - plugins of others may raise anything
                    _log.debug("%s: closing %s", host.name, name, exc_info=True, extra={"host": host.name})
        SHARED.close()


def outcomes_of(
    aggregated: AggregatedResult,
    section: str,
    *names: str,
    rows: Mapping[str, Sequence[tuple[str, str]]] | None = None,
) -> list[Outcome]:
    """Return the rows of all hosts, in host order. The result of each task is its rows.

    A host whose task raised has one row for each of ``names`` in ``section``, or for each ``(section,
    name)`` that ``rows`` has for it: the status depends on the exception, ``why`` is its reason and hint.
    """
    outcomes: list[Outcome] = []
    for host, results in aggregated.items():
        error = cause_of(results)
        if error is None:
            outcomes.extend(_rows(host, results[0].result))
            continue
        items = (rows or {}).get(host) or [(section, name) for name in names or (section,)]
        outcomes.extend(row_of_error(host, where, name, error) for where, name in items)
    return outcomes


def _rows(host: str, result: Any) -> list[Outcome]:
    rows = [result] if isinstance(result, Outcome) else result
    if not isinstance(rows, list | tuple) or not all(isinstance(row, Outcome) for row in rows):
        raise TypeError(f"the task on {host} gave {type(result).__name__}, not outcomes")
    return list(rows)


def row_of_error(host: str, section: str, name: str, error: BaseException) -> Outcome:
    """Return the row that reports why this item on this host was not done."""
    return Outcome(
        host=host,
        section=section,
        name=name,
        status=_status(error),
        why=_why(host, error),
        hypervisor_fault=isinstance(error, HypervisorError),
    )


def _status(error: BaseException) -> Status:
    if isinstance(error, ConnectionLostError | UnreadableError):
        return Status.UNKNOWN
    if isinstance(error, NotStartedError):
        return Status.SKIPPED
    if isinstance(error, TransportError):
        return Status.UNREACHABLE
    return Status.FAILED


def _why(host: str, error: BaseException) -> str:
    if isinstance(error, UnreadableError):
        return error.on(host)
    if isinstance(error, LabrunError):
        reason = f"{error.step}: {error.reason}" if error.step else error.reason
        return f"{reason} ({error.hint})" if error.hint else reason
    # Unexpected, so the exception's type says as much as its text.
    return f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
