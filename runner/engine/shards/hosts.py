"""A host of Nornir's as a :class:`HostSpec`, and back in the worker."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Final

from nornir.core.inventory import ConnectionOptions, Defaults, Host

from labrun.inventory.hosts.connections import JUMP, OPTIONS
from labrun.runner.engine.shards.codec import NAMED, encode
from labrun.runner.engine.shards.messages import HostSpec
from labrun.tasks.guest.inside import OPENER

__all__ = ["has_secrets", "host_of", "spec_of", "why_it_stays"]

# What the way through a jump host needs of the data that it has.
_WHERE: Final = ("labrun_expected", "labrun_former", "labrun_unreachable")
_KEY: Final = "key_file"
_KNOWN: Final = "alt_key_file"
_ALIAS: Final = "host_key_alias"


def why_it_stays(host: Host) -> str:
    """Return why a host must be worked on in the controller's own process, empty if it may travel."""
    if OPENER in host.data:
        return "it is entered without a login, by libvirt"
    if has_secrets(host.data):
        return "its settings have secrets, which are not sent"
    try:
        for key, value in host.data.items():
            # What has a name there travels; a large lab's are long, and made into JSON once is enough.
            if key != JUMP and NAMED.get(type(value).__name__) != type(value).__module__:
                encode(value)
    except TypeError as error:
        return str(error)
    return ""


def spec_of(host: Host, host_keys: Mapping[str, str]) -> HostSpec:
    """Return what a worker needs of a host; ``host_keys`` are those on record, by host."""
    login = host.get_connection_parameters(OPTIONS)
    options = dict(login.extras or {})
    jump: Host | None = host.data.get(JUMP)
    key = host_keys.get(host.name) if _ALIAS in options else None
    return HostSpec(
        name=host.name,
        address=login.hostname,
        port=login.port or 22,
        user=login.username,
        key_file=options.pop(_KEY, None),
        known_hosts=options.pop(_KNOWN, None),
        host_keys=(key,) if key else (),
        options=options,
        data={name: value for name, value in host.data.items() if name not in (JUMP, OPENER)},
        jump=_jump_of(jump, host_keys) if jump is not None else None,
    )


def _jump_of(jump: Host, host_keys: Mapping[str, str]) -> HostSpec:
    """Return a jump host without the input of its own task, which may be long and have secrets."""
    spec = spec_of(jump, host_keys)
    return replace(spec, data={name: spec.data[name] for name in _WHERE if name in spec.data})


def host_of(spec: HostSpec, folder: Callable[[], Path]) -> Host:
    """Return the host for Nornir. Where no file of known hosts is named, one is written into ``folder()``."""
    options = dict(spec.options)
    if spec.key_file is not None:
        options[_KEY] = spec.key_file
    known = spec.known_hosts or _known_hosts(spec, folder)
    if known is not None:
        options |= {_KNOWN: known, "alt_host_keys": True}
    data = dict(spec.data)
    if spec.jump is not None:
        data[JUMP] = host_of(spec.jump, folder)
    return Host(
        name=spec.name,
        hostname=spec.address,
        port=spec.port,
        username=spec.user,
        data=data,
        connection_options={OPTIONS: ConnectionOptions(extras=options)},
        defaults=Defaults(),
    )


def _known_hosts(spec: HostSpec, folder: Callable[[], Path]) -> str | None:
    if not spec.host_keys:
        return None
    path = folder() / f"{spec.name}.known_hosts"
    name = spec.options.get(_ALIAS) or spec.address
    path.write_text("".join(f"{name} {key}\n" for key in spec.host_keys), encoding="ascii")
    return str(path)


def has_secrets(value: object) -> bool:
    """Return whether there is a secret anywhere in a host's data: a text under a key ``secrets``."""
    return any(True for _ in _secrets(value))


def _secrets(value: object) -> Iterator[Any]:
    if is_dataclass(value):
        value = {field.name: getattr(value, field.name) for field in fields(value)}
    if isinstance(value, Mapping):
        for key, member in value.items():
            yield from _texts(member) if key == "secrets" else _secrets(member)


def _texts(member: object) -> Iterable[Any]:
    return member if isinstance(member, list | tuple | set | frozenset) else (member,)
