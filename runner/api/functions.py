"""The API's functions: each is a method of :class:`Lab`, for a lab or the path of its file."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from labrun.runner.api.lab import Hosts, Lab, load
from labrun.runner.api.outcomes import Outcomes

if TYPE_CHECKING:
    from nornir.core import Nornir

__all__ = ["configure", "down", "drift", "expectations", "nornir", "run", "up", "verify"]

AnyLab: TypeAlias = Lab | str | Path | None
"""A lab, or the path of its file; None = lab.yaml here or in the nearest folder above."""


def _lab(lab: AnyLab) -> Lab:
    return lab if isinstance(lab, Lab) else load(lab)


def expectations(lab: AnyLab = None, hosts: Hosts = None) -> Outcomes:
    """Return what ``verify`` would expect, see :meth:`Lab.expectations`."""
    return _lab(lab).expectations(hosts)


def up(lab: AnyLab = None, hosts: Hosts = None, *, configure: bool = False, prune: bool = False) -> Outcomes:
    """Create networks and machines, see :meth:`Lab.up`."""
    return _lab(lab).up(hosts, configure=configure, prune=prune)


def configure(
    lab: AnyLab = None, hosts: Hosts = None, *, only: Iterable[str] = (), dry_run: bool = False
) -> Outcomes:
    """Bring hosts to the declared state, see :meth:`Lab.configure`."""
    return _lab(lab).configure(hosts, only=only, dry_run=dry_run)


def verify(lab: AnyLab = None, hosts: Hosts = None, *, full: bool = False) -> Outcomes:
    """Compare hosts with what the file implies, see :meth:`Lab.verify`."""
    return _lab(lab).verify(hosts, full=full)


def drift(lab: AnyLab = None, hosts: Hosts = None, *, fix: bool = False) -> Outcomes:
    """Compare file, last applied state and hosts, see :meth:`Lab.drift`."""
    return _lab(lab).drift(hosts, fix=fix)


def down(lab: AnyLab = None, hosts: Hosts = None) -> Outcomes:
    """Remove machines and networks, see :meth:`Lab.down`."""
    return _lab(lab).down(hosts)


def run(
    task: Callable[..., Any],
    lab: AnyLab = None,
    hosts: Hosts = None,
    *,
    dry_run: bool = False,
    parameters: Mapping[str, Any] | None = None,
) -> Outcomes:
    """Run a Nornir task on the hosts, see :meth:`Lab.run`."""
    return _lab(lab).run(task, hosts, dry_run=dry_run, parameters=parameters)


@contextmanager
def nornir(
    lab: AnyLab = None, hosts: Hosts = None, *, dry_run: bool = False, timeout: float | None = None
) -> Iterator[Nornir]:
    """Yield a Nornir over the hosts, see :meth:`Lab.nornir`."""
    with _lab(lab).nornir(hosts, dry_run=dry_run, timeout=timeout) as made:
        yield made
