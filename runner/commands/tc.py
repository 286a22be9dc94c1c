"""`labrun tc HOST:NIC delay 40ms loss 5%`: make a link slow or lossy, show it, and undo it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import click

from labrun.errors import HypervisorError, LabrunError, UsageError
from labrun.hypervisor import is_local
from labrun.outcome import Outcome, Status
from labrun.runner.cli.invocation import Invocation
from labrun.runner.cli.nic_words import complete_nic, named_nics
from labrun.runner.cli.report import Report
from labrun.runner.engine.by_hypervisor import ends_of, reason_of
from labrun.runner.engine.session import Session, open_session
from labrun.runner.verb import verb
from labrun.tasks.provision.link_quality import WORDS

if TYPE_CHECKING:
    from labrun.json_values import JsonObject
    from labrun.tasks.provision.link_quality import Quality
    from labrun.tasks.provision.link_shaping import Shaped
    from labrun.tasks.provision.nic_ends import NicEnd


def _complete(ctx: Any, param: Any, incomplete: str) -> list[str]:
    """Complete NICs and, after the first of them, the words of a quality."""
    keys = [key for key in WORDS if key.startswith(incomplete)] if ctx.params.get("words") else []
    return [*complete_nic(ctx, param, incomplete), *keys]


@verb("tc")
@click.argument(
    "words", nargs=-1, metavar="[HOST[:NIC]... [delay 40ms] [loss 5%]...]", shell_complete=_complete
)
@click.option("--clear", is_flag=True, help="Remove delay, loss and rate again.")
def command(invocation: Invocation, words: tuple[str, ...], clear: bool) -> Report:
    """Make the links of hosts slow or lossy, or show their settings.

    delay TIME [JITTER], loss, duplicate and corrupt PERCENT, and rate RATE apply to what the host
    receives at that NIC. Without them, the current settings are shown; without HOST, those of every NIC.
    The settings are lost when the machine stops or restarts.
    """
    from labrun.tasks.provision import nft
    from labrun.tasks.provision.link_quality import quality_of_words
    from labrun.tasks.provision.link_shaping import Shaped, set_link

    session = open_session(invocation)
    named, rest = _split(session, words)
    wanted = quality_of_words(rest)
    if rest and clear:
        raise UsageError("--clear takes no settings", step="tc", hint=f"leave {' '.join(rest)} out")
    if not session.uri:
        raise LabrunError("the lab has no NICs on a hypervisor", step="tc", hint=session.why_uri)
    every = [(host, nic.name) for host in session.hosts for nic in session.lab.hosts[host].interfaces]
    ends = ends_of(session, named or every, does="tc", only_running=not named)
    here = next((each.uri for each in session.members() if is_local(each.uri)), "")
    if here and (why := nft.unusable(here)):
        raise HypervisorError(why.replace("nftables", "tc"), step="tc", hint="run labrun as root")
    links, silent = _read(ends.found)
    nics = [nic for nic in ends.found if nic not in silent]
    changed = {
        nic
        for nic in nics
        if (rest or clear)
        and set_link(nic, wanted, links.get((nic.far, nic.device), Shaped()), is_named=bool(named))
    }
    after, lost = _read(changed) if changed else ({}, {})
    silent |= lost
    # A device without a qdisc is not listed.
    asked = {nic.far for nic in changed if nic not in lost}
    links = {key: shaped for key, shaped in links.items() if key[0] not in asked} | after
    shown = [(nic, links.get((nic.far, nic.device), Shaped())) for nic in nics if nic not in lost]
    rows = [
        _row(nic, shaped, wanted if rest or clear else None, is_changed=nic in changed)
        for nic, shaped in shown
    ]
    rows += [Outcome(nic.host, "tc", nic.nic, Status.UNKNOWN, why=why) for nic, why in silent.items()]
    rows += ends.unknown_rows("tc")
    there = {(nic.host, nic.nic) for nic in ends.found} | ends.unknown.keys()
    rows += [
        Outcome(host, "tc", nic, Status.SKIPPED, why="its machine is off, or it has no device here")
        for host, nic in (named or every)
        if (host, nic) not in there
    ]
    extra: JsonObject = {"links": [_member(nic, shaped) for nic, shaped in shown]}
    return Report(session.lab.name, rows, extra=extra)


def _read(nics: Iterable[NicEnd]) -> tuple[dict[tuple[str, str], Shaped], dict[NicEnd, str]]:
    """Return what is at the devices, by hypervisor and device, and why some of these NICs are unknown."""
    from labrun.tasks.provision.link_shaping import read_links

    found: dict[tuple[str, str], Shaped] = {}
    silent: dict[NicEnd, str] = {}
    asked = list(nics)
    for far in dict.fromkeys(nic.far for nic in asked):
        try:
            found |= {(far, device): shaped for device, shaped in read_links(far).items()}
        except HypervisorError as error:
            if not far:
                raise
            silent |= {nic: reason_of(error) for nic in asked if nic.far == far}
    return found, silent


def _split(session: Session, words: tuple[str, ...]) -> tuple[tuple[tuple[str, str], ...], tuple[str, ...]]:
    """Return the NICs that the first words name, each once, and the words after them."""
    found: dict[tuple[str, str], None] = {}
    for number, word in enumerate(words):
        if word in WORDS or (number and ":" not in word and word not in session.lab.hosts):
            if not found:
                raise UsageError("name a HOST[:NIC]", step="tc", hint=f"such as labrun tc HOST {word}")
            return tuple(found), words[number:]
        found.update(dict.fromkeys(named_nics(session.lab, word)))
    return tuple(found), ()


def _row(nic: NicEnd, shaped: Shaped, wanted: Quality | None, *, is_changed: bool) -> Outcome:
    actual = f"{shaped.foreign}, not labrun's" if shaped.foreign else str(shaped.quality)
    status = Status.CHANGED if is_changed else Status.OK
    if wanted is not None and not shaped.foreign and not shaped.quality.is_about(wanted):
        status = Status.FAILED
    expected = None if wanted is None else str(wanted)
    return Outcome(nic.host, "tc", nic.nic, status, expected, actual)


def _member(nic: NicEnd, shaped: Shaped) -> JsonObject:
    quality = shaped.quality
    return {
        "host": nic.host,
        "network": nic.nic,
        "dev": nic.device,
        "delay_ms": quality.delay / 1000,
        "jitter_ms": quality.jitter / 1000,
        "loss_percent": quality.loss,
        "duplicate_percent": quality.duplicate,
        "corrupt_percent": quality.corrupt,
        "rate_bit": quality.rate,
        "sent_packets": shaped.sent,
        "dropped_packets": shaped.dropped,
        "foreign": shaped.foreign or None,
    }
