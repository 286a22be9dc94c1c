"""The types of names in a lab file, each with its error message: of hosts, networks, units, packages."""

from __future__ import annotations

import re
from typing import Annotated, Final

from pydantic import AfterValidator, BeforeValidator

from labrun.inventory.file.field_types import as_text
from labrun.inventory.file.problems import quoted
from labrun.inventory.file.pydantic_types import Matching, wrong

__all__ = [
    "BridgeName",
    "DeviceName",
    "DomainName",
    "GroupName",
    "HostName",
    "ImageName",
    "LabName",
    "LoginName",
    "MachineName",
    "NetworkName",
    "PackageName",
    "UnitName",
    "UserName",
    "Word",
    "label_fault",
]

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LDH = re.compile("[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_LONGEST_HOSTNAME: Final = 64  # the kernel's, and that of hostname(7)
# ssh refuses a dash in front or after a space, a backslash at the end, and what a shell could take for its
# own. The name also goes into sshd -T -C, where a comma ends it, and ssh_config, where % begins a token.
_LOGIN: Final = (
    r"(?=.{1,255}$)(?![- ])"
    r"([^\x00-\x20\x7f'"
    r'"`;&<>|(){}%,\\]|\\(?!$)| (?![- ]|$))+'
)
_RESERVED_HOSTS: Final = frozenset({"hypervisor", "localhost", "auto", "none", "default"})


def label_fault(value: str) -> tuple[str, str] | None:
    """Return why DNS, libvirt or a guest's hostname would not accept a name, and a hint; None if they do."""
    if _LABEL.fullmatch(value) and re.search("[a-z]", value):
        return None
    shape = "lower-case letters, digits and inner dashes, at most 63, with at least one letter"
    better = re.sub("[^a-z0-9]+", "-", value.lower()).strip("-")
    fits = better != value and _LABEL.fullmatch(better) and re.search("[a-z]", better)
    return f"{quoted(value)} cannot be a name", f'"{better}" could' if fits else shape


def _host_label(value: str) -> str:
    fault = label_fault(value)
    if fault is not None:
        raise wrong(*fault)
    return value


def _host_name(value: str) -> str:
    if value in _RESERVED_HOSTS:
        raise wrong(f"the name {quoted(value)} is reserved")
    return _host_label(value)


def _machine_name(value: str) -> str:
    """Return a hostname: one label or several, in the case in which it is written."""
    labels = value.split(".")
    if value.lower() in ("localhost", "localhost.localdomain"):
        raise wrong(f"the name {quoted(value)} is reserved")
    if len(value) > _LONGEST_HOSTNAME:
        raise wrong(f"{quoted(value)} cannot be a hostname", f"at most {_LONGEST_HOSTNAME} characters")
    if all(map(_LDH.fullmatch, labels)) and re.search("[A-Za-z]", labels[-1]):
        return value
    better = ".".join(re.sub("[^A-Za-z0-9]+", "-", label).strip("-") for label in labels).strip(".")
    fits = better != value and all(map(_LDH.fullmatch, better.split("."))) and re.search("[A-Za-z]", better)
    shape = "letters, digits, inner dashes and dots, with a letter after the last dot"
    raise wrong(f"{quoted(value)} cannot be a hostname", f'"{better}" could' if fits else shape)


def _network_name(value: str) -> str:
    if value in ("host", "router"):
        raise wrong(f"a network cannot share its name with the role {quoted(value)}")
    return _host_label(value)


def _group_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}", value):
        raise wrong(f"{quoted(value)} cannot be a group's name", "letters, digits, dash and underscore")
    if value in ("host", "router"):
        raise wrong(f"a group cannot share its name with the role {quoted(value)}")
    return value


def _unit_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,200}", value):
        raise wrong(f"{quoted(value)} is not a systemd unit", "such as cron or nginx.service")
    return value


LabName = Annotated[
    str,
    BeforeValidator(as_text),
    Matching("[a-z][a-z0-9-]{0,30}", "lab name", "a letter, then letters, digits, dashes; at most 31"),
]
HostName = Annotated[str, AfterValidator(_host_name)]
MachineName = Annotated[str, AfterValidator(_machine_name)]
NetworkName = Annotated[str, AfterValidator(_network_name)]
GroupName = Annotated[str, AfterValidator(_group_name)]
Word = Annotated[
    str,
    BeforeValidator(as_text),
    Matching("[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}", "single word", "letters, digits, . _ -"),
]
ImageName = Annotated[
    str,
    BeforeValidator(as_text),
    Matching("[a-z0-9][a-z0-9._-]{0,62}", "image name", "lower-case letters, digits, . _ -"),
]
UserName = Annotated[
    str,
    BeforeValidator(as_text),
    Matching("[a-z_][a-z0-9_-]{0,30}", "user name", "lower-case letters, digits, _ -"),
]
LoginName = Annotated[
    str,
    BeforeValidator(as_text),
    Matching(_LOGIN, "user name for ssh", "no - in front, and none of ' \" ` ; & < > | ( ) { } % ,"),
]
DomainName = Annotated[
    str,
    BeforeValidator(as_text),
    Matching(
        r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", "DNS name"
    ),
]
DeviceName = Annotated[
    str,
    BeforeValidator(as_text),
    Matching(
        r"[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,14}", "name of a network device", "at most 15 characters, no spaces"
    ),
]
BridgeName = Annotated[
    str,
    BeforeValidator(as_text),
    Matching(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", "name of a bridge", "at most 15 letters, digits and . _ -"),
]
PackageName = Annotated[
    str,
    BeforeValidator(as_text),
    Matching(
        r"[A-Za-z0-9][A-Za-z0-9+._-]{0,100}(:[a-z0-9]{1,20})?", "package name", "one package, no version"
    ),
]
UnitName = Annotated[str, AfterValidator(_unit_name)]
