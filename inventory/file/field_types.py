"""The value types of a lab file: addresses, names, keys and numbers, each with its error message."""

from __future__ import annotations

import base64
import binascii
import re
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, PlainValidator, WithJsonSchema

from labrun.hypervisor_uri import PLAIN_URI, VARIABLE
from labrun.inventory.duration import is_duration
from labrun.inventory.file.address_parsing import (
    Nic4,
    Nic6,
    address,
    ipv4,
    mac,
    network4,
    network6,
    nic_address4,
    nic_address6,
    own_address4,
    own_address6,
    prefix,
)
from labrun.inventory.file.problems import quoted
from labrun.inventory.file.pydantic_types import Matching, parsed, wrong

__all__ = [
    "Address",
    "AddressText",
    "AddressTextOrPrefix",
    "BridgeName",
    "Cidr4",
    "Cidr6",
    "DeviceName",
    "DomainName",
    "Duration",
    "FilePath",
    "GroupName",
    "HostName",
    "IPv4",
    "ImageName",
    "LabName",
    "Line",
    "LoginName",
    "Mac",
    "MachineName",
    "NetworkName",
    "NextHop",
    "NicAddress4",
    "NicAddress6",
    "NmcliProperty",
    "NmcliValue",
    "OwnAddress4",
    "OwnAddress6",
    "PackageName",
    "Port",
    "PortRange",
    "Prefix",
    "PublicKey",
    "SshdKeyword",
    "SshdValue",
    "SysctlKey",
    "SysctlValue",
    "Text",
    "UnitName",
    "Uri",
    "UserName",
    "Word",
]

_LABEL = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?")
_LDH = re.compile("[A-Za-z0-9]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?")
_LONGEST_HOSTNAME: Final = 64  # the kernel's, and that of hostname(7)
# ssh refuses a dash in front or after a space, a backslash at the end, and what a shell could take for its
# own. The name also goes into sshd -T -C, where a comma ends it, and ssh_config, where % begins a token.
_LOGIN: Final = (
    r"(?=.{1,255}$)(?![- ])"
    r"([^\x00-\x20\x7f'\"`;&<>|(){}%,\\]|\\(?!$)| (?![- ]|$))+"
)
_RESERVED_HOSTS: Final = frozenset({"hypervisor", "localhost", "auto", "none", "default"})
_KEY_TYPES: Final = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


def _text(value: Any) -> Any:
    """Accept a number as the text it was written as; reject what YAML turned into a boolean."""
    if isinstance(value, bool):
        raise wrong(f"YAML reads this as {quoted(value)}; text is expected", "put it in quotes")
    return str(value) if isinstance(value, int) else value


def _yes_no(value: Any) -> Any:
    return ("yes" if value else "no") if isinstance(value, bool) else _text(value)


def _zero_one(value: Any) -> Any:
    if isinstance(value, bool):
        raise wrong(f"YAML reads this as {quoted(value)}, the kernel wants a number", "write 1 or 0")
    return _text(value)


def _one_line(value: str) -> str:
    if any(not char.isprintable() and char != "\t" for char in value):
        raise wrong("this must be one line without control characters")
    if not value.strip():
        raise wrong("this is empty")
    if len(value) > 4096:
        raise wrong("this is longer than 4096 characters")
    return value


def _one_line_or_nothing(value: str) -> str:
    return _one_line(value) if value else value


def host_label(value: str) -> str:
    """Return a name that DNS, libvirt and a guest's hostname all accept."""
    if _LABEL.fullmatch(value) and re.search("[a-z]", value):
        return value
    shape = "lower-case letters, digits and inner dashes, at most 63, with at least one letter"
    better = re.sub("[^a-z0-9]+", "-", value.lower()).strip("-")
    fits = better != value and _LABEL.fullmatch(better) and re.search("[a-z]", better)
    raise wrong(f"{quoted(value)} cannot be a name", f'"{better}" could' if fits else shape)


def _host_name(value: str) -> str:
    if value in _RESERVED_HOSTS:
        raise wrong(f"the name {quoted(value)} is reserved")
    return host_label(value)


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
        raise wrong(f"a network cannot be called like the role {quoted(value)}")
    return host_label(value)


def _group_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,62}", value):
        raise wrong(f"{quoted(value)} cannot be a group's name", "letters, digits, dash and underscore")
    if value in ("host", "router"):
        raise wrong(f"a group cannot be called like the role {quoted(value)}")
    return value


def _public_key(value: str) -> str:
    if "PRIVATE KEY" in value:
        raise wrong("this is a private key", "put the .pub file's line here, and make a new key pair")
    parts = value.strip().split(None, 2)
    if len(parts) < 2 or parts[0] not in _KEY_TYPES:
        raise wrong("not an OpenSSH public key", "one line such as ssh-ed25519 AAAA... you@there")
    try:
        blob = base64.b64decode(parts[1], validate=True)
    except (binascii.Error, ValueError):
        raise wrong("this public key is damaged", "copy the .pub file's whole line") from None
    name = parts[0].encode()
    if blob[:4] != len(name).to_bytes(4, "big") or blob[4 : 4 + len(name)] != name or len(blob) < 40:
        raise wrong("this public key is damaged", "copy the .pub file's whole line")
    return _one_line(value.strip())


def _file_path(value: str) -> str:
    parts = value.split("/")[1:]
    if not value.startswith("/") or any(part in ("", ".", "..") for part in parts) or "\\" in value:
        raise wrong(f"{quoted(value)} is not a valid file path", "absolute, without . or ..: /etc/motd")
    return value


def _unit_name(value: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9:_.@\\-]{0,200}", value):
        raise wrong(f"{quoted(value)} is not a systemd unit", "such as cron or nginx.service")
    return value


def _sshd_keyword(value: str) -> str:
    if not re.fullmatch("[A-Za-z][A-Za-z0-9]{1,63}", value):
        raise wrong(
            f"{quoted(value)} is not a valid sshd keyword", "letters and digits, such as MaxAuthTries"
        )
    if value.lower() in ("match", "include"):
        raise wrong(f"{value} is not possible here", "keywords hold for the whole host")
    return value.lower()


def _port_range(value: Any) -> tuple[int, int]:
    if isinstance(value, int) and not isinstance(value, bool):
        low = high = value
    elif isinstance(value, str) and (found := re.fullmatch("([0-9]{1,5})-([0-9]{1,5})", value)):
        low, high = int(found[1]), int(found[2])
    else:
        raise wrong("this is not a valid port", "1 to 65535, a range such as 8000-8010 or a list of them")
    if not 1 <= low <= high <= 65535:
        raise wrong(f"{value} is not a valid port", "1 to 65535, a range rising")
    return low, high


def _duration(value: str) -> str:
    if not is_duration(value):
        raise wrong(f"{quoted(value)} is not a valid duration", "such as 30s, 15m or 2h")
    return value


Text = Annotated[str, BeforeValidator(_text)]
Line = Annotated[str, BeforeValidator(_text), AfterValidator(_one_line)]
LabName = Annotated[
    str,
    BeforeValidator(_text),
    Matching("[a-z][a-z0-9-]{0,30}", "lab name", "a letter, then letters, digits, dashes; at most 31"),
]
HostName = Annotated[str, AfterValidator(_host_name)]
MachineName = Annotated[str, AfterValidator(_machine_name)]
NetworkName = Annotated[str, AfterValidator(_network_name)]
GroupName = Annotated[str, AfterValidator(_group_name)]
Word = Annotated[
    str,
    BeforeValidator(_text),
    Matching("[A-Za-z0-9_][A-Za-z0-9_.-]{0,62}", "single word", "letters, digits, . _ -"),
]
ImageName = Annotated[
    str,
    BeforeValidator(_text),
    Matching("[a-z0-9][a-z0-9._-]{0,62}", "image name", "lower-case letters, digits, . _ -"),
]
UserName = Annotated[
    str,
    BeforeValidator(_text),
    Matching("[a-z_][a-z0-9_-]{0,30}", "user name", "lower-case letters, digits, _ -"),
]
LoginName = Annotated[
    str,
    BeforeValidator(_text),
    Matching(_LOGIN, "user name for ssh", "no - in front, and none of ' \" ` ; & < > | ( ) { } % ,"),
]
DomainName = Annotated[
    str,
    BeforeValidator(_text),
    Matching(
        r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?(\.[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?)*", "DNS name"
    ),
]
DeviceName = Annotated[
    str,
    BeforeValidator(_text),
    Matching(
        r"[A-Za-z0-9_][A-Za-z0-9_.@:-]{0,14}", "name of a network device", "at most 15 characters, no spaces"
    ),
]
BridgeName = Annotated[
    str,
    BeforeValidator(_text),
    Matching(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", "name of a bridge", "at most 15 letters, digits and . _ -"),
]
Uri = Annotated[
    str,
    Matching(
        f"auto|{PLAIN_URI}",
        "hypervisor for a lab file",
        "auto, or qemu or lxc with ssh, tls or nothing: qemu+ssh://user@host/system;"
        f" {VARIABLE} takes any URI",
    ),
]
Cidr4 = Annotated[IPv4Network, *parsed(network4, {"examples": ["172.16.0.0/24"]}, "an IPv4 subnet")]
Cidr6 = Annotated[IPv6Network, *parsed(network6, {"examples": ["fd00:1::/64"]}, "an IPv6 subnet")]
IPv4 = Annotated[IPv4Address, *parsed(ipv4, {"format": "ipv4"}, "an IPv4 address")]
Address = Annotated[
    IPv4Address | IPv6Address, *parsed(address, {"examples": ["172.16.0.11"]}, "an IP address")
]
Prefix = Annotated[IPv4Network | IPv6Network, *parsed(prefix, {"examples": ["10.9.0.0/16"]}, "a prefix")]
Mac = Annotated[str, *parsed(mac, {"pattern": "^[0-9a-fA-F]{2}([:-][0-9a-fA-F]{2}){5}$"}, "a MAC address")]
AddressText = Annotated[
    str, BeforeValidator(_text), Matching(r"(::|[A-Za-z0-9_])[A-Za-z0-9_.:-]{0,252}", "address or host name")
]
NextHop = Annotated[
    str,
    BeforeValidator(_text),
    Matching(
        r"(::|[A-Za-z0-9_])[A-Za-z0-9_.:-]{0,252}(%[A-Za-z0-9-]{1,63})?",
        "address or host name",
        "fe80::1%NETWORK is a link-local address",
    ),
]
AddressTextOrPrefix = Annotated[
    str,
    BeforeValidator(_text),
    Matching(r"(::|[A-Za-z0-9_])[A-Za-z0-9_.:/-]{0,252}", "network, host or prefix"),
]
NicAddress4 = Annotated[Nic4, *parsed(nic_address4, {"examples": ["dhcp"]}, "an address or dhcp")]
OwnAddress4 = Annotated[
    IPv4Address | Literal["none"], *parsed(own_address4, {"examples": ["172.16.0.254"]}, "an address or none")
]
OwnAddress6 = Annotated[
    IPv6Address | Literal["none"], *parsed(own_address6, {"examples": ["fd00:1::fe"]}, "an address or none")
]
NicAddress6 = Annotated[
    Nic6, *parsed(nic_address6, {"examples": ["fd00:1::11", "auto", "dhcp"]}, "an address, auto or dhcp")
]
Port = Annotated[int, Field(ge=1, le=65535)]
PortRange = Annotated[
    tuple[int, int],
    PlainValidator(_port_range),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "integer", "minimum": 1, "maximum": 65535},
                {"type": "string", "pattern": "^[0-9]{1,5}-[0-9]{1,5}$"},
            ]
        }
    ),
]
PublicKey = Annotated[str, BeforeValidator(_text), AfterValidator(_public_key)]
SysctlKey = Annotated[
    str,
    Matching(
        r"[A-Za-z0-9_][A-Za-z0-9_-]*([./][A-Za-z0-9_][A-Za-z0-9_:@-]*)+",
        "sysctl key",
        "such as net.ipv4.ip_forward",
    ),
]
_SCALAR: Final = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
_SCALAR_OR_BOOL: Final = {"anyOf": [{"type": "string"}, {"type": "integer"}, {"type": "boolean"}]}
SysctlValue = Annotated[str, BeforeValidator(_zero_one), AfterValidator(_one_line), WithJsonSchema(_SCALAR)]
SshdKeyword = Annotated[str, AfterValidator(_sshd_keyword)]
SshdValue = Annotated[
    str, BeforeValidator(_yes_no), AfterValidator(_one_line), WithJsonSchema(_SCALAR_OR_BOOL)
]
NmcliProperty = Annotated[
    str,
    Matching(
        r"[a-z0-9]+(-[a-z0-9]+)*\.[a-z0-9]+(-[a-z0-9]+)*", "nmcli property", "such as ipv4.route-metric"
    ),
]
NmcliValue = Annotated[
    str, BeforeValidator(_yes_no), AfterValidator(_one_line_or_nothing), WithJsonSchema(_SCALAR_OR_BOOL)
]
PackageName = Annotated[
    str,
    BeforeValidator(_text),
    Matching(
        r"[A-Za-z0-9][A-Za-z0-9+._-]{0,100}(:[a-z0-9]{1,20})?", "package name", "one package, no version"
    ),
]
FilePath = Annotated[str, AfterValidator(_one_line), AfterValidator(_file_path)]
UnitName = Annotated[str, AfterValidator(_unit_name)]
Duration = Annotated[
    str,
    BeforeValidator(_text),
    AfterValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": "^([0-9]+[smhd])+$"}),
]
