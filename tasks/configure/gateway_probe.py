"""Whether a new gateway is there: asked before a change that leads to it may stay."""

from __future__ import annotations

from collections.abc import Sequence

from labrun.tasks.guest.scripts import guest_script
from labrun.tasks.guest.shell import Facts, Probe, quote

__all__ = ["answers_probe", "silent"]

# A gateway need not answer pings: that its link-layer address is known is enough. Without `ping` in the
# guest nobody has asked for it yet, and nothing can be said against it.
_ANSWERS = guest_script("answers")


def answers_probe(gateways: Sequence[str]) -> Probe:
    """Return the probe that asks each of these addresses for an answer, a second at most."""
    asked = "".join(f"answers {quote(each)} && frame answers {quote(each)}\n" for each in gateways)
    return Probe((), _ANSWERS + asked)


def silent(facts: Facts, gateways: Sequence[str]) -> list[str]:
    """Return the gateways that gave no answer."""
    return [each for each in gateways if f"answers {each}" not in facts.words]
