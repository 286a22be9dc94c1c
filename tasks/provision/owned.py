"""Whose an object in libvirt is, and what was applied to it last."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from labrun.errors import ForeignObjectError
from labrun.ownership import Tag, read_tag
from labrun.tasks.state.fingerprint import Fingerprint, as_text, fingerprint, from_text
from labrun.tasks.state.item import Attributes, Item

__all__ = ["APPLIED", "Kind", "applied_of", "find_own", "record_of", "tagged_for"]

APPLIED = "applied"
"""The attribute of the tag that records what was applied last."""


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of objects in libvirt.

    ``lookup`` is the connection's method, ``missing`` libvirt's error for a name that it does not know.
    ``advice`` and the virsh command ``dump`` are for messages about a foreign object in the way.
    """

    noun: str
    step: str
    lookup: str
    missing: str
    advice: str
    dump: str
    owner: str = "this lab's"


def find_own(connection: Any, kind: Kind, name: str, is_own: Callable[[Any], bool]) -> Any:
    """Return the object of that name, None if there is none. Raises ForeignObjectError if it is not own."""
    import libvirt

    try:
        candidate = getattr(connection, kind.lookup)(name)
    except libvirt.libvirtError as error:
        if error.get_error_code() == getattr(libvirt, kind.missing):
            return None
        raise
    if not is_own(candidate):
        raise ForeignObjectError(
            f"the {kind.noun} {name} exists and is not {kind.owner}",
            step=kind.step,
            hint=f"{kind.advice} `virsh {kind.dump} {name}`",
        )
    return candidate


def tagged_for(lab: str) -> Callable[[Any], bool]:
    """Return the test whether an object carries the lab's tag, and the tag was written for it."""

    def is_own(candidate: Any) -> bool:
        tag = read_tag(candidate.XMLDesc(0))
        return tag is not None and tag.lab == lab and tag.fits(candidate.name())

    return is_own


def record_of(want: Attributes) -> str:
    """Return what the tag of an object records of the attributes that it is defined with."""
    return as_text(fingerprint(Item("", want, want)))


def applied_of(tag: Tag | None) -> dict[str, Fingerprint]:
    """Return what was applied last; nothing for an object without a tag or of an early labrun."""
    return {} if tag is None else from_text(tag.extra.get(APPLIED, ""))
