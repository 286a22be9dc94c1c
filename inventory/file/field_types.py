"""The value types of a lab file: addresses, texts, keys and numbers, each with its error message."""

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
    "Cidr4",
    "Cidr6",
    "Duration",
    "FilePath",
    "IPv4",
    "Line",
    "Mac",
    "NextHop",
    "NicAddress4",
    "NicAddress6",
    "NmcliProperty",
    "NmcliValue",
    "OwnAddress4",
    "OwnAddress6",
    "Port",
    "PortRange",
    "Prefix",
    "PublicKey",
    "SshdKeyword",
    "SshdValue",
    "SysctlKey",
    "SysctlValue",
    "Text",
    "Uri",
    "as_text",
]

_KEY_TYPES: Final = (
    "ssh-ed25519",
    "ssh-rsa",
    "ecdsa-sha2-nistp256",
    "ecdsa-sha2-nistp384",
    "ecdsa-sha2-nistp521",
    "sk-ssh-ed25519@openssh.com",
    "sk-ecdsa-sha2-nistp256@openssh.com",
)


def as_text(value: Any) -> Any:
    """Accept a number as the text it was written as; reject what YAML turned into a boolean."""
    if isinstance(value, bool):
        raise wrong(f"YAML reads this as {quoted(value)}; text is expected", "put it in quotes")
    return str(value) if isinstance(value, int) else value


def _yes_no(value: Any) -> Any:
    return ("yes" if value else "no") if isinstance(value, bool) else as_text(value)


def _zero_one(value: Any) -> Any:
    if isinstance(value, bool):
        raise wrong(f"YAML reads this as {quoted(value)}, the kernel wants a number", "write 1 or 0")
    return as_text(value)


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


def _sshd_keyword(value: str) -> str:
    if not re.fullmatch("[A-Za-z][A-Za-z0-9]{1,63}", value):
        raise wrong(
            f"{quoted(value)} is not a valid sshd keyword", "letters and digits, such as MaxAuthTries"
        )
    if value.lower() in ("match", "include"):
        raise wrong(f"{value} is not allowed here", "keywords apply to the whole host")
    return value.lower()


def _port_range(value: Any) -> tuple[int, int]:
    if isinstance(value, int) and not isinstance(value, bool):
        low = high = value
    elif isinstance(value, str) and (found := re.fullmatch("([0-9]{1,5})-([0-9]{1,5})", value)):
        low, high = int(found[1]), int(found[2])
    else:
        raise wrong("this is not a valid port", "1 to 65535, a range such as 8000-8010 or a list of them")
    if not 1 <= low <= high <= 65535:
        raise wrong(f"{value} is not a valid port", "1 to 65535, a range in ascending order")
    return low, high


def _duration(value: str) -> str:
    if not is_duration(value):
        raise wrong(f"{quoted(value)} is not a valid duration", "such as 30s, 15m or 2h")
    return value


Text = Annotated[str, BeforeValidator(as_text)]
Line = Annotated[str, BeforeValidator(as_text), AfterValidator(_one_line)]
Uri = Annotated[
    str,
    Matching(
        f"auto|{PLAIN_URI}",
        "hypervisor for a lab file",
        "auto, or qemu or lxc with ssh, tls or nothing: qemu+ssh://user@host/system;"
        f" {VARIABLE} takes any URI",
    ),
]
MemberUri = Annotated[
    str,
    BeforeValidator(as_text),
    Matching(PLAIN_URI, "hypervisor for a lab file", "such as qemu:///system or qemu+ssh://user@host/system"),
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
    str,
    BeforeValidator(as_text),
    Matching(r"(::|[A-Za-z0-9_])[A-Za-z0-9_.:-]{0,252}", "address or host name"),
]
NextHop = Annotated[
    str,
    BeforeValidator(as_text),
    Matching(
        r"(::|[A-Za-z0-9_])[A-Za-z0-9_.:-]{0,252}(%[A-Za-z0-9-]{1,63})?",
        "address or host name",
        "fe80::1%NETWORK is a link-local address",
    ),
]
AddressTextOrPrefix = Annotated[
    str,
    BeforeValidator(as_text),
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
PublicKey = Annotated[str, BeforeValidator(as_text), AfterValidator(_public_key)]
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
FilePath = Annotated[str, AfterValidator(_one_line), AfterValidator(_file_path)]
Duration = Annotated[
    str,
    BeforeValidator(as_text),
    AfterValidator(_duration),
    WithJsonSchema({"type": "string", "pattern": "^([0-9]+[smhd])+$"}),
]
