"""`labrun image check`: boot an image once in a throw-away VM, and say what labrun can do with it."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from labrun.errors import HypervisorError, LabrunError, UsageError
from labrun.outcome import HYPERVISOR, Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.progress import progress
from labrun.runner.cli.report import Report
from labrun.runner.engine.lock import lab_lock
from labrun.runner.engine.session import Session, open_session
from labrun.tasks.configure.nic_families import FAMILIES

if TYPE_CHECKING:
    from labrun.json_values import JsonObject

__all__ = ["check_image", "judged"]

_HOST = "guest"
_SECONDS = 60.0
_CONSOLE_LINES = 400
# Of the prefix for measurements (RFC 2544), which no network of anybody's has.
_LAB = """\
name: {name}
hypervisor: {uri}
networks: {{check: {{mode: isolated, cidr: 198.18.{third}.0/24}}}}
hosts:
  {host}:
    {{image: {image}, memory: {memory}, disk: {disk}, firmware: {firmware},
      networks: {{check: 198.18.{third}.9}}}}
"""
_LOGIN = re.compile(r"\blogin: *$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class _Seen:
    """How the guest came up: the row of its readiness, what it told of itself, its console's last lines."""

    ready: Outcome | None
    facts: Sequence[tuple[str, str]]
    console: str
    failed: Sequence[Outcome] = ()


def check_image(invocation: Invocation, image: str, *, firmware: str, memory: int) -> Report:
    """Boot the image once, log in, look around, and remove everything again. Exit code 1 if it is no use."""
    from labrun.tasks.provision.image_store import image_paths

    if invocation.hosts is not None:
        raise UsageError("--hosts has no meaning for an image")
    if not image_paths(image).disk.is_file():
        from labrun.tasks.provision.image_catalogue import source_of_image

        raise UsageError(
            f"there is no image {image} with a disk for VMs here", hint=source_of_image(image, "qemu")
        )
    with _lab(invocation, image, firmware, memory) as (inner, name):
        seen = _boot(inner)
    rows, check = judged(image, seen.ready, seen.facts, seen.console)
    members: JsonObject = {"image": image, "firmware": firmware, "lab": name, **check}
    return Report(outcomes=[*seen.failed, *rows], extra={"check": members})


@contextmanager
def _lab(invocation: Invocation, image: str, firmware: str, memory: int) -> Iterator[tuple[Invocation, str]]:
    from labrun.hypervisor_uri import asked_hypervisor
    from labrun.tasks.provision.image_format import judge_image
    from labrun.tasks.provision.image_store import image_paths

    name = f"image-check-{os.urandom(3).hex()}"
    asked = asked_hypervisor()
    uri = asked if asked and asked.startswith("qemu") else "qemu:///system"
    gib = -(-judge_image(image_paths(image).disk) // 2**30)
    with tempfile.TemporaryDirectory(prefix="labrun-check-") as folder:
        path = Path(folder, "lab.yaml")
        third = int(name[-2:], 16)
        path.write_text(
            _LAB.format(
                name=name,
                uri=uri,
                third=third,
                host=_HOST,
                image=image,
                memory=memory,
                disk=max(gib, 10),
                firmware=firmware,
            ),
            encoding="utf-8",
        )
        yield replace(invocation, lab=str(path)), name


def _boot(invocation: Invocation) -> _Seen:
    """Bring the throw-away lab up, look, and take it down again, whatever happens."""
    from labrun.runner.commands.down import take_down
    from labrun.runner.commands.up import Wishes, bring_up

    session = open_session(invocation)
    with lab_lock(session.state.lock, "image check"), progress([_HOST], invocation):
        try:
            rows = bring_up(session, Wishes(wait=True, prune=False, recreate=False, configure=False))
            ready = next((row for row in rows if row.section == "ready"), None)
            failed = [row for row in rows if row.section != "ready" and row.status is Status.FAILED]
            facts = _facts(session) if ready is not None and not ready.exit_code else ()
            return _Seen(ready, facts, _console(session), failed)
        finally:
            gone = take_down(
                replace(invocation, hosts=None),
                session.lab.name,
                session.uri,
                session.state,
                None,
                is_confirmed=True,
            )
            if not any(row.exit_code for row in gone):
                session.state.remove()


def _facts(session: Session) -> Sequence[tuple[str, str]]:
    from labrun.runner.commands.exec import run_command
    from labrun.runner.engine.nornir import outcomes_of
    from labrun.tasks.guest.scripts import guest_script

    budget = session.budget(_SECONDS, reads=True)
    with session.engine(session.locate(), budget) as nornir:
        (row,) = outcomes_of(
            nornir.run(run_command, script=guest_script("image_facts"), timeout=budget.deadline), "exec"
        )
    pairs = (line.partition(" ") for line in (row.actual or "").splitlines())
    return [(word, value.strip()) for word, _, value in pairs]


def _console(session: Session) -> str:
    from labrun.tasks.provision.driver_registry import driver_for

    try:
        domain = session.lab.libvirt_name(_HOST)
        return driver_for("qemu", session.uri).console_tail(domain, lines=_CONSOLE_LINES)
    except (LabrunError, HypervisorError):
        return ""


def judged(
    image: str, ready: Outcome | None, facts: Sequence[tuple[str, str]], console: str
) -> tuple[list[Outcome], dict[str, bool | float | str | list[str] | None]]:
    """Return the rows about an image, and the same as members of a document.

    ``ready`` is how the wait for the guest ended, None if there was no guest; ``facts`` are words with values
    that it told of itself, ``console`` what its serial console showed.
    """
    of = dict(facts)
    managers = [value for word, value in facts if word == "network"]
    rows = [_login_row(image, ready, console)]
    if facts:
        rows += [
            _fact(image, "cloud-init", of.get("cloud-init", ""), "cloud-init is not there"),
            _fact(image, "sshd", of.get("sshd", ""), "OpenSSH is not there"),
            _fact(image, "root", of.get("root", ""), "sudo is not there, by which labrun becomes root"),
            _fact(image, "init", of.get("init", ""), ""),
            _fact(image, "family", f"{of.get('family', '')} ({of.get('system', '')})", ""),
            _network_row(image, managers),
        ]
    works = not any(row.exit_code for row in rows)
    document: dict[str, bool | float | str | list[str] | None] = {
        "works": works,
        "login_seconds": round(ready.seconds, 1) if ready is not None and not ready.exit_code else None,
        **{
            word.replace("-", "_"): of.get(word)
            for word in ("cloud-init", "sshd", "family", "system", "init")
        },
        "network": list(managers),
    }
    return rows, document


def _about(image: str, what: str, status: Status, actual: str, why: str | None = None) -> Outcome:
    return Outcome(HYPERVISOR, "image", f"{image}: {what}", status, None, actual, why)


def _fact(image: str, what: str, value: str, missing: str) -> Outcome:
    if value or not missing:
        return _about(image, what, Status.OK, value or "-")
    return _about(image, what, Status.FAILED, "absent", missing)


def _network_row(image: str, managers: Sequence[str]) -> Outcome:
    actual = ", ".join(managers) or "none that labrun knows"
    known = [family.name for family in FAMILIES]
    if any(manager in known for manager in managers):
        return _about(image, "network", Status.OK, actual)
    why = f"`configure` sets NICs through one of {', '.join(known)}, and none of them is there"
    return _about(image, "network", Status.WARNING, actual, why)


def _login_row(image: str, ready: Outcome | None, console: str) -> Outcome:
    if ready is None:
        return _about(image, "login", Status.SKIPPED, "not tried", "there was no machine to log in to")
    if not ready.exit_code:
        return replace(
            _about(image, "login", Status.OK, f"after {ready.seconds:.0f} s"), seconds=ready.seconds
        )
    reason = "; ".join(filter(None, [_from_console(console), ready.why]))
    # A guest that never answers is this image's fault, not that of a host that nobody reaches.
    return _about(image, "login", Status.FAILED, ready.actual or "none", reason)


def _from_console(console: str) -> str:
    """Return what the console shows of the reason why nobody can log in."""
    if "Kernel panic" in console:
        return "its kernel panics"
    if "cloud-init" in console.lower():
        return "cloud-init ran"
    if _LOGIN.search(console):
        return (
            "it boots, and no cloud-init shows on its console: there is none that could make the login user"
        )
    return "" if console else "nothing shows on its serial console"
