"""Merge defaults, groups and a host key by key: host > group > defaults."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from labrun.inventory.file.host_models import FILE_ORIGINS, FileModel, HostModel
from labrun.inventory.file.network_models import RoutesModel
from labrun.inventory.file.problems import Path, Report
from labrun.inventory.file.pydantic_types import Section
from labrun.inventory.file.schema import LabFile

__all__ = ["Merged", "merge_hosts"]

_OWN: Final = frozenset({"networks", "hostname", "address", "hosts", "ssh_keys"})


@dataclass(frozen=True, slots=True)
class Merged:
    """A host with everything merged; ``origin`` tells where each top-level key was written."""

    name: str
    model: HostModel
    groups: tuple[str, ...]
    ssh_keys: tuple[str, ...]
    origin: Mapping[str, Path]

    def path(self, key: str) -> Path:
        """Return the path of the key's value in the file."""
        return (*self.origin.get(key, ("hosts", self.name)), key)

    def place(self, report: Report, *keys: str) -> Path:
        """Return where the file writes the value below these keys that holds for the host."""
        layers: tuple[Path, ...] = (
            ("hosts", self.name),
            *(("groups", name) for name in self.groups),
            ("defaults",),
            (),
        )
        places = [(*layer, *keys) for layer in layers]
        return next((place for place in places if report.is_in_file(place)), places[0])


def merge_hosts(file: LabFile, report: Report) -> dict[str, Merged]:
    """Return every host merged, in file order; report conflicting groups of one host."""
    members: dict[str, list[str]] = {}
    for group, listed in file.groups.items():
        for member in listed.hosts:
            members.setdefault(member, []).append(group)
    defaults = written(file.defaults)
    groups = {name: written(model) for name, model in file.groups.items()}
    merged = {}
    reported: set[Path] = set()
    for name, host in file.hosts.items():
        mine = tuple(dict.fromkeys(members.get(name, ())))
        if len(mine) > 1:
            _contradictions(name, [(group, groups[group]) for group in mine], reported, report)
        everywhere: dict[str, Any] = {"guard": file.guard} if file.guard is not None else {}
        if file.routes is not None:
            everywhere["routes"] = RoutesModel(ignore=file.routes.ignore)
        layers: list[tuple[Path, Mapping[str, Any]]] = [((), everywhere), (("defaults",), defaults)]
        layers += [(("groups", group), groups[group]) for group in mine]
        layers.append((("hosts", name), written(host)))
        values, origin = _laid_over(layers)
        merged[name] = Merged(name, host.model_copy(update=values), mine, _keys(file, mine, host), origin)
    return merged


def written(section: Section) -> dict[str, Any]:
    """Return the keys written here in the file, nested mappings as plain dicts of values."""
    return {
        key: getattr(section, key) for key in section.model_fields_set if getattr(section, key) is not None
    }


def _laid_over(layers: Sequence[tuple[Path, Mapping[str, Any]]]) -> tuple[dict[str, Any], dict[str, Path]]:
    values: dict[str, Any] = {}
    origin: dict[str, Path] = {}
    for path, layer in layers:
        for key, value in layer.items():
            if key == "hosts" and path[0] == "groups":
                continue
            values[key] = overlaid(values.get(key), value)
            origin[key] = path
    values.pop("ssh_keys", None)
    return values, origin


def overlaid(below: Any, above: Any) -> Any:
    """Return ``above`` merged over ``below``: mappings key by key, everything else replaced."""
    if isinstance(below, dict) and isinstance(above, dict):
        return {**below, **{key: overlaid(below.get(key), value) for key, value in above.items()}}
    if isinstance(below, Section) and isinstance(above, Section):
        values = written(above)
        if isinstance(above, FileModel) and not values.keys().isdisjoint(FILE_ORIGINS):
            below = below.model_copy(update=dict.fromkeys(FILE_ORIGINS))
        return below.model_copy(
            update={key: overlaid(getattr(below, key), value) for key, value in values.items()}
        )
    return above


def _keys(file: LabFile, groups: tuple[str, ...], host: HostModel) -> tuple[str, ...]:
    keys = list(file.ssh_keys)
    for group in groups:
        keys += file.groups[group].ssh_keys or ()
    return tuple(dict.fromkeys([*keys, *(host.ssh_keys or ())]))


def _contradictions(
    host: str, groups: list[tuple[str, Mapping[str, Any]]], reported: set[Path], report: Report
) -> None:
    """Report each leaf that two groups of one host set differently, once for all their common hosts."""
    seen: dict[Path, tuple[str, Any]] = {}
    for group, values in groups:
        for path, value in _leaves({key: value for key, value in values.items() if key not in _OWN}, ()):
            other = _clash(seen, path, value)
            if other is None:
                seen[path] = (group, value)
                continue
            first, at = other
            if (first, group, *path) in reported:
                continue
            reported.add((first, group, *path))
            report.add(
                ("groups", group, *path),
                f"{host} is also in the group {first}, which sets this differently in line "
                f"{report.line_of(('groups', first, *at))}",
                "set it in one of them",
            )


def _clash(seen: Mapping[Path, tuple[str, Any]], path: Path, value: Any) -> tuple[str, Path] | None:
    if path in seen:
        return None if seen[path][1] == value else (seen[path][0], path)
    for length in range(1, len(path)):  # a scalar in one group and a mapping in the other: sshd: false
        if path[:length] in seen:
            return seen[path[:length]][0], path[:length]
    return next(((group, at) for at, (group, _) in seen.items() if at[: len(path)] == path), None)


def _leaves(value: Any, path: Path) -> list[tuple[Path, Any]]:
    if isinstance(value, Section):
        value = written(value)
    if isinstance(value, dict):
        return [leaf for key, below in value.items() for leaf in _leaves(below, (*path, key))]
    return [(path, value)]
