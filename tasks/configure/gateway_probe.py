"""Whether a new gateway is there: tested before a change that routes through it may stay."""

from __future__ import annotations

from collections.abc import Sequence

from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Facts, Probe, quote

__all__ = ["answers_probe", "silent"]

# A gateway need not answer pings: a resolved link-layer address is enough. Without `ping` in the guest
# nothing has triggered the resolution yet, so its absence proves nothing.
_ANSWERS = guest_script("answers")


def answers_probe(gateways: Sequence[str]) -> Probe:
    """Return the probe that tests each of these addresses, for a second at most."""
    asked = "".join(f"answers {quote(each)} && frame answers {quote(each)}\n" for each in gateways)
    return Probe((), _ANSWERS + asked)


def silent(facts: Facts, gateways: Sequence[str]) -> list[str]:
    """Return the gateways that did not answer."""
    return [each for each in gateways if f"answers {each}" not in facts.words]
