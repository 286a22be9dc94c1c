"""``requires_labrun``: the versions of labrun that a lab file is written for."""

from __future__ import annotations

from typing import Annotated, Any, Final

from pydantic import PlainValidator, WithJsonSchema

from labrun import __version__
from labrun.inventory.file.problems import Report, quoted
from labrun.inventory.file.pydantic_types import wrong
from labrun.inventory.file.yaml_tree import Node, plain

__all__ = ["RequiredVersions", "require_this_version"]

KEY: Final = "requires_labrun"
_EXAMPLE: Final = 'such as ">=0.2" or ">=0.2, <2", in quotes'


def require_this_version(root: Node, report: Report) -> None:
    """Refuse a file that is written for another labrun, before its other keys are judged.

    Those may be keys that this version does not know. Raises LabFileError.
    """
    data = plain(root)
    text = data.get(KEY) if isinstance(data, dict) else None
    if not isinstance(text, str):
        return
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    try:
        wanted = SpecifierSet(text)
    except InvalidSpecifier:
        return  # the models report it, with all else
    # A release candidate of a wanted version is one, too: who installs it wants to try it.
    if not wanted.contains(__version__, prereleases=True):
        what = f"the lab needs labrun {text.strip()}, and this is labrun {__version__}"
        report.add((KEY,), what, "install such a version, or change this line")
        report.raise_if_any()


def _specifier(value: Any) -> str:
    from packaging.specifiers import InvalidSpecifier, SpecifierSet

    if not isinstance(value, str):
        raise wrong(f"{quoted(value)} is not a range of versions", _EXAMPLE)
    try:
        wanted = SpecifierSet(value)
    except InvalidSpecifier:
        raise wrong(f"{quoted(value)} is not a range of versions", _EXAMPLE) from None
    if not len(wanted):
        raise wrong("this names no versions", _EXAMPLE)
    return value


RequiredVersions = Annotated[
    str,
    PlainValidator(_specifier),
    WithJsonSchema({"type": "string", "pattern": r"^\s*(~=|==|!=|<=|>=|<|>|===)"}),
]
"""A specifier of PEP 440: one or more comparisons, with commas between them."""
