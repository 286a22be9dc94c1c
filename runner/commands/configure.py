"""`labrun configure`: bring every host to the state in the lab file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import click

from labrun.errors import UsageError
from labrun.inventory.hosts.locate import file_addresses, other_addresses, still_held
from labrun.inventory.topology.jump_hosts import carried_to, jump_chain, jump_hosts
from labrun.outcome import Outcome, Status, exit_code
from labrun.output_logs import log_path
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.progress import progress
from labrun.runner.cli.report import Report
from labrun.runner.cli.rollout_options import rollout_options
from labrun.runner.commands.both_ends import changed_together, cuts_of, with_earlier
from labrun.runner.commands.completions import complete_sections
from labrun.runner.engine.absence import with_absence
from labrun.runner.engine.budget import CONFIRM_SECONDS
from labrun.runner.engine.lock import lab_lock
from labrun.runner.engine.out_of_band import explain_failures
from labrun.runner.engine.rollout import ALL_AT_ONCE, Rollout, max_fail_of, ordered
from labrun.runner.engine.session import Session, open_session
from labrun.runner.verb import verb

if TYPE_CHECKING:
    from labrun.inventory.hosts.locate import Located
    from labrun.inventory.model import Lab
    from labrun.state import LabState
    from labrun.tasks.configure.behind import Behind

__all__ = ["carried_by", "configure_hosts"]

_SECONDS = 180.0
_WOULD_CHANGE = 3
# How many of a host's former addresses are asked, the latest first.
_MOST_FORMER = 2


@verb("configure", recorded=True)
@click.option(
    "--only",
    metavar="A,B",
    shell_complete=complete_sections,
    help="Only these sections, such as nmcli or sysctl,sshd.",
)
@rollout_options
@click.option(
    "--dry-run",
    is_flag=True,
    help="Show what would change and change nothing; exit code 3 if anything would.",
)
@click.option("--diff", is_flag=True, help="Show changes line by line.")
@click.option("--explain", is_flag=True, help="Print the commands to do the same by hand, and do nothing.")
@click.option("--no-guard", is_flag=True, help="Apply without the rollback guard.")
@click.option(
    "--confirm-timeout",
    metavar="SECONDS",
    type=click.IntRange(1, 3600),
    default=CONFIRM_SECONDS,
    show_default=True,
    help="How long a changed host waits for a new login before it rolls back.",
)
def command(
    invocation: Invocation,
    only: str | None,
    canary: int | None,
    max_fail: str | None,
    dry_run: bool,
    diff: bool,
    explain: bool,
    no_guard: bool,
    confirm_timeout: int,
) -> Report:
    """Apply the lab file's addresses, routes, forwarding, SSH and other settings to the hosts.

    Each host is read once and changed only where it differs. It rolls back by itself
    unless a new login then finds everything as declared. A second run changes nothing. Hosts of
    one `redundancy` group are never changed at the same time.
    """
    sections = _sections(only)
    rollout = Rollout(canary, max_fail_of(canary, max_fail))
    session = open_session(invocation)
    if explain and dry_run:
        return _what_differs(session, sections)
    if explain:
        return Report(session.lab.name, text=_explained(session, sections))
    with lab_lock(session.state.lock, "configure"):
        rows = configure_hosts(
            session,
            sections,
            dry_run=dry_run,
            rollout=rollout,
            confirm=None if no_guard else confirm_timeout,
        )
    rows = with_absence(session, rows)
    follows = "labrun configure" if dry_run else "labrun verify"
    follows = follows if exit_code(rows) == (_WOULD_CHANGE if dry_run else 0) else ""
    return Report(session.lab.name, rows, diff=diff, scene=session.scene(changes=True, next=follows))


def _sections(only: str | None) -> tuple[str, ...]:
    if only is None:
        return ()
    from labrun.tasks.configure.resources import SECTIONS

    sections = [word.strip() for word in only.split(",") if word.strip()]
    unknown = [word for word in sections if word not in SECTIONS]
    if unknown or not sections:
        raise UsageError(
            f'there is no section "{", ".join(unknown)}"' if unknown else "names no section",
            step="--only",
            hint=f"there are {', '.join(SECTIONS)}",
        )
    return tuple(sections)


def _explained(session: Session, sections: Sequence[str]) -> str:
    from labrun.tasks.configure.resources import explain, host_spec

    blocks = []
    for host in session.hosts:
        lines = explain(host_spec(session.lab, host), sections)
        blocks.append("\n".join([f"# on {host}, as root", *lines]) + "\n")
    return "\n".join(blocks)


def _what_differs(session: Session, sections: Sequence[str]) -> Report:
    """Read the hosts, and return the commands to correct each host's differences, below its name."""
    from labrun.runner.engine.nornir import outcomes_of
    from labrun.tasks.configure.by_hand import by_hand
    from labrun.tasks.configure.resources import host_spec, row_names

    specs = {host: host_spec(session.lab, host) for host in session.hosts}
    data = {host: {"configure": spec} for host, spec in specs.items()}
    budget = session.budget(_SECONDS, reads=True)
    with (
        progress(session.hosts, session.invocation),
        session.engine(session.locate(), budget, data, dry_run=True) as nornir,
    ):
        result = nornir.run(by_hand, only=list(sections))
    names = {host: row_names(spec, sections) for host, spec in specs.items()}
    rows = with_absence(session, outcomes_of(result, "configure", rows=names))
    commands = {host: list(getattr(result[host][0], "commands", ())) for host in session.hosts}
    blocks = []
    for host, lines in commands.items():
        # A host that could not be read, or differs in what cannot be changed, has reasons but no commands.
        reasons = dict.fromkeys(
            f"# {row.status}: {' '.join(str(row.why).split())}"
            for row in rows
            if row.host == host and row.exit_code not in (0, _WOULD_CHANGE)
        )
        if lines or reasons:
            blocks.append("\n".join([f"# on {host}, as root", *reasons, *lines]) + "\n")
    text = "\n".join(blocks) or "# nothing differs\n"
    return Report(session.lab.name, rows, text=text, extra={"commands": commands})


def configure_hosts(
    session: Session,
    sections: Sequence[str] = (),
    *,
    dry_run: bool = False,
    rollout: Rollout = ALL_AT_ONCE,
    confirm: int | None = CONFIRM_SECONDS,
) -> list[Outcome]:
    """Configure the session's hosts in parallel, with the lab's lock held. Return their rows.

    A host that did not begin, because of ``rollout``, has skipped rows. The redundancy groups of the lab
    file are added to the rollout. ``confirm`` as in a run's budget.
    """
    located = session.locate()
    if rollout.canary is None:
        session.dial_ahead(located)

    from labrun.runner.engine.nornir import outcomes_of
    from labrun.runner.engine.results import lost_hosts, read_since
    from labrun.tasks.configure.package_log import LOG
    from labrun.tasks.configure.resources import host_spec, row_names
    from labrun.tasks.configure.task import configure
    from labrun.tasks.configure.together import CUTS

    held = still_held(session.lab, session.state.host_addresses())
    specs = {host: host_spec(session.lab, host, held) for host in session.hosts}
    carried = carried_by(session.lab, session.hosts, located, session.state)
    for host, others in carried.items():
        specs[host]["behind"] = others
    after = {} if dry_run else _after(session, carried)
    session.dial_later(located, after)
    logs = {host: log_path(session.state.root, f"packages-{host}") for host in session.hosts}
    data: dict[str, dict[str, object]] = {
        host: {"configure": spec, LOG: str(logs[host])} for host, spec in specs.items()
    }
    cuts = cuts_of(session, rollout, confirm, dry_run=dry_run)
    noting = data if cuts is None else {host: {**each, CUTS: cuts} for host, each in data.items()}
    budget = session.budget(
        _SECONDS,
        reads=dry_run,
        until="confirmed or rolled back",
        rollout=replace(rollout, groups=_redundancy(session), after=after),
        confirm=confirm,
    )
    names = {host: row_names(spec, sections) for host, spec in specs.items()}
    earlier: list[Outcome] = []
    with (
        progress(session.hosts, session.invocation),
        session.engine(located, budget, noting, dry_run=dry_run, watched=True) as nornir,
    ):
        words: dict[str, Any] = {
            "only": list(sections),
            "dry_run": dry_run,
            "run": session.invocation.run,
            "digest": session.lab.digest,
            "confirm_timeout": budget.confirm,
        }
        result = nornir.run(configure, **words)
        if cuts is not None and cuts.left():
            earlier = outcomes_of(result, "configure", rows=names)
            result.update(changed_together(session, cuts, budget, data, carried, words))
        lost = lost_hosts(result)
        if lost and not dry_run:
            # Nobody knows how far it came: these hosts are read, and never applied to again.
            again = nornir.filter(filter_func=lambda host: host.name in lost)
            result.update(again.run(configure, only=list(sections), dry_run=True))
        explain_failures(session, located, result)
    found = [
        read_since(row) if row.host in lost else row for row in outcomes_of(result, "configure", rows=names)
    ]
    rows = with_earlier([row for row in earlier if row.host not in lost], found)
    _remember_addresses(session, rows, dry_run)
    silent = [host for host in session.hosts if not names[host] and host not in {row.host for row in rows}]
    return rows + [_nothing(host, sections) for host in silent]


def carried_by(
    lab: Lab, hosts: Iterable[str], located: Mapping[str, Located], state: LabState
) -> dict[str, list[Behind]]:
    """Return, for each of ``hosts`` that forwards traffic to others, those as name, address and port.

    All hosts of the lab count, not only those of the run. The kernel's routes are read only if one of
    ``hosts`` can carry others at all.
    """
    from labrun.inventory.hosts.connections import access_of
    from labrun.inventory.hosts.ssh_command import jump_options
    from labrun.inventory.topology.behind import behind, carries_others

    carriers = [name for name in hosts if carries_others(lab, name) or name in jump_hosts(lab)]
    addresses = {name: where.address for name, where in located.items() if where.address is not None}
    if not carriers or len(addresses) < 2:
        return {}
    from labrun.tasks.configure.behind import leads

    routes = leads({name: each for name, each in addresses.items() if not located[name].hops})
    ridden = {name: carried_to(lab, name) for name in addresses if located[name].through}
    others = other_addresses(lab, located, state.host_addresses())

    def entry(name: str) -> Behind:
        former = others[name]["labrun_former"][:_MOST_FORMER]
        return {**present(name), "also": former} if former else present(name)

    def present(name: str) -> Behind:
        port = access_of(lab, lab.hosts[name], state).port
        jump = jump_options(lab, lab.hosts[name], located, state).get("jump")
        if not isinstance(jump, dict):
            return {"name": name, "address": addresses[name], "port": port}
        beside = others[str(jump["name"])]
        also = [*beside["labrun_expected"], *beside["labrun_former"]]
        jump = {**jump, "others": [each for each in also if each != jump["host"]]}
        return {"name": name, "address": addresses[name], "port": port, "jump": jump}

    return {
        carrier: [
            entry(name)
            for name in addresses
            if carrier in ridden.get(name, ()) or name in behind(lab, carrier, routes)
        ]
        for carrier in carriers
    }


def _remember_addresses(session: Session, rows: Sequence[Outcome], dry_run: bool) -> None:
    """Record the hosts' current addresses, to find the hosts when the file changes them."""
    bad = {row.host for row in rows if row.exit_code}
    done = [] if dry_run else [host for host in session.hosts if host not in bad]
    session.state.remember_addresses({name: file_addresses(session.lab.hosts[name]) for name in done})


def _redundancy(session: Session) -> dict[str, str]:
    groups = {name: session.lab.hosts[name].redundancy for name in session.hosts}
    return {name: group for name, group in groups.items() if group is not None}


def _after(session: Session, carried: Mapping[str, Sequence[Behind]]) -> dict[str, tuple[str, ...]]:
    """Return the jump hosts and routers on the way to each host: they are changed first.

    A router that begins or stops to translate addresses breaks the connections through it, though not new
    ones: the kernel applies `nat` to a connection in progress as if it began there, and forgets with the last
    rule how others were translated.
    """
    jumps = {name: jump_chain(session.lab, name) for name in session.hosts}
    routers = {
        name: [carrier for carrier, others in carried.items() if any(each["name"] == name for each in others)]
        for name in session.hosts
    }
    return ordered(jumps, routers)


def _nothing(host: str, sections: Sequence[str]) -> Outcome:
    why = "the lab file declares nothing for this host" + (f" for {', '.join(sections)}" if sections else "")
    return Outcome(host, sections[0] if sections else "configure", host, Status.SKIPPED, why=why)
