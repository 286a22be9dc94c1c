"""Nornir without logins: tasks that ask libvirt, for the hypervisor itself or for each machine on it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from labrun.outcome import HYPERVISOR
from labrun.runner.engine.budget import Budget, OnSignal
from labrun.runner.engine.session import TaskData

if TYPE_CHECKING:
    from nornir.core import Nornir

__all__ = ["hypervisor_engine"]


@contextmanager
def hypervisor_engine(
    uri: str,
    hosts: Mapping[str, TaskData] | None = None,
    *,
    until: str = "finished",
    budget: Budget | None = None,
) -> Iterator[Nornir]:
    """Yield a Nornir whose only host is the hypervisor, or with ``hosts`` these, by name with their data.

    Its tasks use libvirt and open no connections. ``until`` as for :meth:`Session.budget`, unless there is a
    ``budget``.
    """
    from nornir.core.inventory import Defaults, Groups, Host, Hosts, Inventory

    from labrun.runner.engine.nornir import build_nornir

    named = hosts if hosts is not None else {HYPERVISOR: {}}
    members = Hosts({name: Host(name=name, hostname=uri, data=dict(data)) for name, data in named.items()})
    inventory = Inventory(hosts=members, groups=Groups(), defaults=Defaults())
    yield build_nornir(inventory, budget or Budget(on_signal=OnSignal(until)))
