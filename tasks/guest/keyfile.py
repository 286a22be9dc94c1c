"""NetworkManager keyfiles: read, write, and normalise settings that mean the same.

Format: nm-settings-keyfile(5), which is GLib's key file with NetworkManager's list syntax. Values stay
escaped as they are in the file: NetworkManager's lists have escapes of their own inside, and writing a
value back must not change its meaning.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Interface,
    IPv4Network,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)

from labrun.bounded import SETTINGS_LINES, require_lines
from labrun.inventory.model import Address, Prefix

__all__ = ["Hop", "Intent", "Sections", "escaped", "intent", "parse", "properties", "render", "unescaped"]

Sections = Mapping[str, Mapping[str, str]]
"""Values by section and key, escaped as in the file."""

_NUMBERED = re.compile(r"(address|addresses|route|routing-rule)([0-9]{1,9})")
_SECTION = {"802-3-ethernet": "ethernet"}
# What NetworkManager writes by default.
_DEFAULTS = {
    ("connection", "autoconnect"): ("true",),
    ("connection", "permissions"): ("",),
    ("connection", "interface-name"): ("",),
    ("ipv6", "addr-gen-mode"): ("default", "-1"),
    ("ipv4", "may-fail"): ("true",),
    ("ipv6", "may-fail"): ("true",),
    ("ipv4", "never-default"): ("false",),
    ("ipv6", "never-default"): ("false",),
    # Reordered headers, as the kernel has them.
    ("vlan", "flags"): ("1",),
}
_UNCOMPARED = {("connection", "uuid"), ("connection", "timestamp")}
_ESCAPES = {"s": " ", "t": "\t", "n": "\n", "r": "\r", "\\": "\\"}
_SPACE = " \t\r"
_NO_LINE = re.compile(r"[\n\0]")
# The table whose routes are compared, as NetworkManager numbers it; 0 = not given.
_MAIN_TABLE = ("0", "254")
_LISTS = ("dns", "dns-search", "dns-options")
_MACS = ("mac-address", "cloned-mac-address", "mac-address-blacklist", "mac-address-denylist")


def parse(text: str) -> dict[str, dict[str, str]]:
    """Return the sections of a keyfile; lines that are neither section nor setting are skipped.

    Raises UnreadableError for more lines than any profile has.
    """
    require_lines(text, "keyfile", SETTINGS_LINES)
    sections: dict[str, dict[str, str]] = {}
    current: dict[str, str] | None = None
    for line in text.split("\n"):
        line = line.lstrip(_SPACE)
        if line.startswith("[") and line.rstrip(_SPACE).endswith("]"):
            name = line.rstrip(_SPACE)[1:-1]
            current = sections.setdefault(_SECTION.get(name, name), {})
        elif current is not None and "=" in line and not line.startswith("#"):
            key, _, value = line.partition("=")
            current[key.rstrip(_SPACE)] = value.lstrip(_SPACE)
    return sections


def render(sections: Sections) -> str:
    """Return the keyfile's text without empty sections. Raises ValueError for text a keyfile cannot hold."""
    blocks = []
    for name, settings in sections.items():
        if settings:
            lines = "".join(f"{key}={value}\n" for key, value in settings.items())
            if _NO_LINE.search("".join((name, *settings, *settings.values()))):
                raise ValueError(f"[{name}] has a value with a line break or a NUL in it")
            blocks.append(f"[{name}]\n{lines}")
    return "\n".join(blocks)


def escaped(value: str) -> str:
    """Return plain text as a keyfile value."""
    for plain, spelled in (("\\", "\\\\"), ("\n", "\\n"), ("\r", "\\r"), ("\t", "\\t")):
        value = value.replace(plain, spelled)
    return re.sub(r"^ +| +$", lambda match: "\\s" * len(match[0]), value)


def unescaped(value: str) -> str:
    """Return a keyfile value unescaped; the escapes of a list stay."""
    return re.sub(r"\\([sntr\\])", lambda match: _ESCAPES[match[1]], value)


@dataclass(frozen=True, slots=True)
class Hop:
    """One route as the kernel has it: prefix and gateway, None without a gateway."""

    prefix: Prefix
    via: Address | None

    def __str__(self) -> str:
        where = "default" if self.prefix.prefixlen == 0 else str(self.prefix)
        return where if self.via is None else f"{where} via {self.via}"


@dataclass(frozen=True, slots=True)
class Intent:
    """What a profile asks of the kernel, for one IP version.

    ``metrics`` are those of routes for which it gives one, ``metric`` the one of all others, None if
    NetworkManager picks it. ``rules`` are policy rules in NetworkManager's words.
    """

    method: str
    addresses: tuple[IPv4Interface | IPv6Interface, ...]
    routes: frozenset[Hop]
    dns: tuple[str, ...]
    keeps_announced_default: bool
    metrics: Mapping[Hop, frozenset[int]] = field(default_factory=dict)
    metric: int | None = None
    rules: tuple[str, ...] = ()
    searches: tuple[str, ...] = ()


def _numbered(settings: Mapping[str, str], *kinds: str) -> Iterator[tuple[str, str]]:
    numbered = [(match, value) for key, value in settings.items() if (match := _NUMBERED.fullmatch(key))]
    for match, value in sorted(numbered, key=lambda pair: int(pair[0][2])):
        if match[1] in kinds and value:
            yield match[0], value


def _items(value: str) -> tuple[str, ...]:
    return tuple(part.strip() for part in re.split(r"[;,]", value) if part.strip())


def _truth(value: str) -> bool:
    return value.lower() in ("true", "yes", "1")


def intent(sections: Sections, version: int) -> Intent:
    """Return the addresses, routes and name servers of ``ipv4`` or ``ipv6``; ValueError for nonsense."""
    settings = sections.get(f"ipv{version}", {})
    addresses = []
    gateway = settings.get("gateway", "")
    for _, value in _numbered(settings, "address", "addresses"):
        address, _, inline = value.partition(",")
        addresses.append(ip_interface(address))
        gateway = gateway or inline
    everywhere: Prefix = IPv4Network("0.0.0.0/0") if version == 4 else IPv6Network("::/0")
    no_default = _truth(settings.get("never-default", ""))
    ordinary = [
        value
        for key, value in _numbered(settings, "route")
        if _is_ordinary(settings.get(f"{key}_options", ""))
    ]
    hops = set(map(_hop, ordinary))
    metric = _metric(settings.get("route-metric", ""), version)
    metrics: dict[Hop, frozenset[int]] = {}
    for value in ordinary:
        own = _metric(value.split(",")[2] if value.count(",") > 1 else "", version)
        given = metric if own is None else own
        if given is not None:
            metrics[_hop(value)] = metrics.get(_hop(value), frozenset()) | {given}
    if gateway and not no_default:
        hops.add(Hop(everywhere, ip_address(gateway)))
        if metric is not None:
            default = Hop(everywhere, ip_address(gateway))
            metrics[default] = metrics.get(default, frozenset()) | {metric}
    if settings.get("route-table", "0") not in _MAIN_TABLE:
        hops, metrics, metric = set(), {}, None
    ignores = _truth(settings.get("ignore-auto-routes", ""))
    return Intent(
        method=settings.get("method", "auto"),
        addresses=tuple(addresses),
        routes=frozenset(hops),
        dns=_items(settings.get("dns", "")),
        keeps_announced_default=not (no_default or ignores),
        metrics=metrics,
        metric=metric,
        rules=tuple(value for _, value in _numbered(settings, "routing-rule")),
        searches=_items(settings.get("dns-search", "")),
    )


def _metric(text: str, version: int) -> int | None:
    """Return a metric as the kernel has it, None if none is given: to IPv6, 0 is the kernel's own default."""
    if not text.isdecimal():
        return None
    return 1024 if version == 6 and int(text) == 0 else int(text)


def _is_ordinary(options: str) -> bool:
    """Tell whether a route is a unicast route in the main table, the only kind that is compared."""
    attributes = dict(option.strip().partition("=")[::2] for option in options.split(","))
    return attributes.get("table", "0") in _MAIN_TABLE and attributes.get("type", "unicast") == "unicast"


def _hop(value: str) -> Hop:
    prefix, *rest = value.split(",")
    via = ip_address(rest[0]) if rest and rest[0] else None
    unspecified = via is None or via.is_unspecified
    return Hop(ip_network(prefix, strict=False), None if unspecified else via)


def properties(sections: Sections) -> dict[str, str]:
    """Return every setting that is not a default, by nmcli property name, normalised."""
    values: dict[str, str] = {}
    for section, settings in sections.items():
        section = _SECTION.get(section, section)
        for key, value in settings.items():
            if _NUMBERED.match(key) or (section, key) in _UNCOMPARED or not value:
                continue
            spelled = _spelled(key, value)
            if spelled not in _DEFAULTS.get((section, key), ()):
                values[f"{section}.{key}"] = spelled
        if section in ("ipv4", "ipv6"):
            values.update(_addressing(section, settings))
    return values


def _spelled(key: str, value: str) -> str:
    if key in _MACS:
        # nmcli writes them in capitals, and labrun does not.
        return value.lower()
    if key in _LISTS:
        return ",".join(_items(value))
    value = unescaped(value)
    if value.lower() in ("yes", "no"):
        return "true" if value.lower() == "yes" else "false"
    return value


def _addressing(section: str, settings: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    addresses, gateways = [], []
    for _, value in _numbered(settings, "address", "addresses"):
        address, _, inline = value.partition(",")
        addresses.append(_typed(address))
        gateways.append(inline)
    if addresses:
        yield f"{section}.addresses", ",".join(addresses)
    gateway = settings.get("gateway") or next(filter(None, gateways), "")
    if gateway:
        yield f"{section}.gateway", gateway
    routes = []
    for key, value in _numbered(settings, "route"):
        prefix, *rest = value.split(",")
        options = settings.get(f"{key}_options", "")
        routes.append(" ".join(filter(None, [_typed(prefix), *rest, options])))
    if routes:
        yield f"{section}.routes", ", ".join(sorted(routes))
    rules = [value for _, value in _numbered(settings, "routing-rule")]
    if rules:
        yield f"{section}.routing-rules", ", ".join(rules)


def _typed(text: str) -> str:
    try:
        return str(ip_interface(text))
    except ValueError:
        return text
