"""Domains in every state that libvirt knows, in its in-memory driver."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import libvirt
import pytest

from labrun.tasks.provision.domains import (
    define_again,
    pull_the_plug,
    run_again,
    state_of,
    undefined,
    wait_until_off,
)

_STATES = {
    "running": libvirt.VIR_DOMAIN_RUNNING,
    "blocked": libvirt.VIR_DOMAIN_BLOCKED,
    "paused": libvirt.VIR_DOMAIN_PAUSED,
    "shutdown": libvirt.VIR_DOMAIN_SHUTDOWN,
    "shutoff": libvirt.VIR_DOMAIN_SHUTOFF,
    "crashed": libvirt.VIR_DOMAIN_CRASHED,
    "pmsuspended": libvirt.VIR_DOMAIN_PMSUSPENDED,
}
_NODE = """\
<node xmlns:test="http://libvirt.org/schemas/domain/test/1.0">
  <domain type="test"><name>one</name><memory>65536</memory><os><type>hvm</type></os>
    <test:runstate>{state}</test:runstate></domain>
</node>
"""


@pytest.fixture
def domain_in(tmp_path: Path) -> Callable[[int], libvirt.virDomain]:
    libvirt.registerErrorHandler(lambda _context, _error: None, None)
    kept = []

    def make(state: int) -> libvirt.virDomain:
        path = tmp_path / "node.xml"
        path.write_text(_NODE.format(state=state), encoding="utf-8")
        kept.append(libvirt.open(f"test://{path}"))
        return kept[-1].lookupByName("one")

    return make


@pytest.mark.parametrize("name", [name for name in _STATES if name != "pmsuspended"])
def test_a_domain_runs_again_from_every_state(
    name: str, domain_in: Callable[[int], libvirt.virDomain]
) -> None:
    domain = domain_in(_STATES[name])
    assert int(domain.state()[0]) == _STATES[name]
    created: list[int] = []

    def create() -> None:
        created.append(domain.create())

    run_again(domain, create)
    assert state_of(domain) == "running"
    # What lives goes on; only what is off or dead starts anew.
    assert bool(created) == (name in ("shutoff", "crashed"))


def test_a_start_that_fails_says_so(domain_in: Callable[[int], libvirt.virDomain]) -> None:
    domain = domain_in(_STATES["shutoff"])

    def fail() -> None:
        raise libvirt.libvirtError("no")

    with pytest.raises(libvirt.libvirtError):
        run_again(domain, fail)


def test_a_suspended_domain_is_woken_up(domain_in: Callable[[int], libvirt.virDomain]) -> None:
    domain = domain_in(_STATES["pmsuspended"])
    # The in-memory driver cannot do it, and names what it was asked for.
    with pytest.raises(libvirt.libvirtError, match="virDomainPMWakeup"):
        run_again(domain, domain.create)


def test_what_was_undefined_while_it_runs_is_defined_again(
    domain_in: Callable[[int], libvirt.virDomain],
) -> None:
    domain = domain_in(_STATES["running"])
    domain.undefine()
    assert not domain.isPersistent()
    define_again(domain)
    assert domain.isPersistent()
    domain.destroy()
    assert state_of(domain) == "shut off"


def test_a_transient_domain_that_is_gone_is_off_and_undefined(
    domain_in: Callable[[int], libvirt.virDomain],
) -> None:
    domain = domain_in(_STATES["running"])
    domain.undefine()
    domain.destroy()
    assert wait_until_off(domain, 0)
    with pytest.raises(libvirt.libvirtError):
        domain.undefine()
    undefined(domain.undefine)


class Ending:
    """A domain that is still on when it is looked at for the first time, and off right after."""

    def __init__(self, domain: libvirt.virDomain) -> None:
        self.domain, self.looked = domain, False

    def isActive(self) -> bool:  # noqa: N802 - libvirt's name
        self.looked, first = True, not self.looked
        return first or bool(self.domain.isActive())

    def destroy(self) -> None:
        self.domain.destroy()


def test_one_that_goes_off_by_itself_needs_no_plug_pulled(
    domain_in: Callable[[int], libvirt.virDomain],
) -> None:
    domain = domain_in(_STATES["running"])
    pull_the_plug(domain)
    assert not domain.isActive()
    pull_the_plug(domain)
    pull_the_plug(Ending(domain))
    with pytest.raises(libvirt.libvirtError, match="not running"):
        domain.destroy()
