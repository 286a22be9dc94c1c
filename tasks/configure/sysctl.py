"""Kernel parameters: the running value and the file that sets it at the next boot."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from labrun.inventory.kernel_spelling import as_kernel_writes
from labrun.inventory.kernel_values import path_of, role_values
from labrun.inventory.model import Host, Lab
from labrun.secrets import is_secret
from labrun.tasks.configure.nic_forwarding import EVERYWHERE, NicForwarding, forwarding_nics
from labrun.tasks.configure.nic_forwarding import probes as nic_probes
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.configure.text_diff import with_file
from labrun.tasks.guest.facts.sysctl import DIRECTORIES, Winner, set_along, settings_of, winner
from labrun.tasks.guest.facts.units import Unit, boot_probe, no_start
from labrun.tasks.guest.shell import Facts, Probe, install_word, quote, typed_file
from labrun.tasks.state.item import NOTHING, Item, Words
from labrun.tasks.state.sections import SYSCTL

__all__ = ["DROP_IN", "Sysctl", "desired_sysctl"]

(DROP_IN,) = SYSCTL.files
_HEADER = "# Written by labrun configure; changes made here are undone by its next run.\n"
# systemd writes the container type here; the file does not exist on a machine.
_CONTAINER = "/run/systemd/container"
# These limit the number of processes; the file holds the current number.
_LIMITS = frozenset({"kernel/pid_max", "kernel/threads-max"})
_LOAD = "/proc/loadavg"
# What no lab works with: every path is traced with echoes.
_SILENCING = ("net/ipv4/icmp_echo_ignore_all", "net/ipv6/icmp/echo_ignore_all")
_READERS = ("systemd-sysctl.service",)
# Writing ip_forward resets other keys, so it goes first.
_FIRST = ("net.ipv4.ip_forward", "net.ipv6.conf.all.forwarding")


def desired_sysctl(host: Host) -> dict[str, str]:
    """Return every desired key of the host: those of its role, then those in the file.

    The values are as the kernel writes them.
    """
    replaced = {path_of(key) for key in host.sysctl}
    role = {key: value for key, value in role_values(host).items() if path_of(key) not in replaced}
    return {**role, **{key: as_kernel_writes(path_of(key) or key, text) for key, text in host.sysctl.items()}}


@dataclass(frozen=True, slots=True)
class _Observed:
    """The state of one key: running value, whether it can be written, what sets it at boot.

    ``least`` is what its value must exceed, if it limits the number of processes.
    """

    running: str | None
    writable: bool
    boot: Winner | None
    ours: str | None
    is_machines: bool
    least: int | None = None

    def can_hold(self, value: str) -> bool:
        """Tell whether the key exists here and is, or can be made, ``value``."""
        return self.running is not None and (self.writable or _same(self.running, value))

    @property
    def at_boot(self) -> str | None:
        """Return the value that a boot sets, None if none does."""
        return self.boot.value if self.boot is not None else None


def _plain(value: str | None) -> str:
    # The kernel prints lists with tabs between the numbers.
    return " ".join((value or "").split())


def _same(one: str | None, other: str) -> bool:
    return one is not None and _plain(one) == _plain(other)


class Sysctl:
    """The resource ``sysctl``; rows are named after the keys as the lab file writes them."""

    section = SYSCTL.name

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return ``{"values": {key: value}}``; an empty one still finds keys left in the file."""
        values = desired_sysctl(host)
        nics = forwarding_nics(host, values)
        return {
            "values": values,
            "secrets": [value for key, value in values.items() if is_secret(key)],
            **({"forwards": nics} if nics else {}),
        }

    def names(self, want: Json) -> tuple[str, ...]:
        """Return the keys."""
        return tuple(want["values"])

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Read the values, all files that could set them, and which of them can be written."""
        keys = _paths(want["values"])
        running = tuple(quote(f"/proc/sys/{path}") for path in keys.values())
        names = " ".join(running)
        script = f'for f in {names}; do [ -w "$f" ] && frame writable "$f"; done\n' if names else ""
        files = (*running, *(f"{directory}/*.conf" for directory in DIRECTORIES), _CONTAINER)
        own = Probe((*files, _LOAD) if _LIMITS & set(keys.values()) else files, script)
        at_boot = (boot_probe(_READERS),) if keys else ()
        return (own, *at_boot, *nic_probes(want.get("forwards", ())))

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the keys that differ now or would differ after a reboot."""
        values: dict[str, str] = dict(want["values"])
        before = facts.files.get(DROP_IN)
        paths = _paths(values)
        observed = {key: _observe(path, facts, before) for key, path in paths.items()}
        disputed = _disputed(values, paths)
        ours = _sorted(
            {
                key: values[key]
                for key, have in observed.items()
                if have.can_hold(values[key]) and key not in disputed
            }
        )
        files = {**facts.files, DROP_IN: _render(ours)}
        nics = NicForwarding.of(want.get("forwards", ()), set(paths.values()), facts, files)
        items = []
        for key, value in values.items():
            then = winner(paths[key], files) if key in ours else None
            item = _item(key, value, observed.get(key), then)
            item = replace(item, refused=disputed[key]) if key in disputed else item
            items.append(nics.judged(item) if paths.get(key) == EVERYWHERE else item)
        unit = no_start(facts, _READERS)
        if unit is not None:
            items = [_not_read(item, unit) if item.name in ours else item for item in items]
        items.extend(_harmful(files, {path for key in values if (path := path_of(key)) is not None}))
        items.extend(_surplus(before, {paths[key] for key in ours}, values))
        secrets = _secrets(observed, before)
        if not any(item.state == "change" for item in items):
            return SectionPlan(self.section, tuple(items), secrets=secrets)
        after = _render(ours) if ours else None
        return SectionPlan(
            self.section,
            with_file(items, DROP_IN, before, after),
            apply=_apply(ours, observed, paths, nics.script),
            undo=f"restore {quote(DROP_IN)}\n",
            saves=(DROP_IN,),
            # At the next boot the values are the kernel's defaults, and the files are read after the undo.
            kernel=(
                *nics.kernel,
                *(
                    ("/proc/sys/" + paths[key], have.running)
                    for key in ours
                    if (have := observed[key]).running is not None and not _same(have.running, ours[key])
                ),
            ),
            commands=(
                *nics.commands,
                *_commands(
                    ours, [key for key, value in ours.items() if not _same(observed[key].running, value)]
                ),
            ),
            secrets=secrets,
        )

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return the commands that set everything, regardless of the current values."""
        values: dict[str, str] = dict(want["values"])
        ours = _sorted({key: values[key] for key in _paths(values)})
        return _commands(ours, list(ours)) if ours else ()


def _secrets(observed: Mapping[str, _Observed], before: str | None) -> tuple[str, ...]:
    """Return the values found on the host that must not be shown."""
    secrets = [value for key, value in settings_of(before or "").items() if is_secret(key)]
    for key, have in observed.items():
        if is_secret(key):
            secrets.extend(filter(None, (have.running, have.at_boot)))
    return tuple(secrets)


def _paths(values: Mapping[str, str]) -> dict[str, str]:
    return {
        key: path
        for key, value in values.items()
        if (path := path_of(key)) is not None and value.strip() and value.replace("\t", " ").isprintable()
    }


def _observe(path: str, facts: Facts, before: str | None) -> _Observed:
    full = f"/proc/sys/{path}"
    text = facts.files.get(full)
    return _Observed(
        running=None if text is None else text.strip(),
        writable=f"writable {full}" in facts.words,
        boot=winner(path, facts.files),
        ours=settings_of(before or "").get(path),
        # A network namespace has its own net.*; a container shares everything else with its host.
        is_machines=_CONTAINER in facts.files and not path.startswith("net/"),
        least=_tasks(facts) if path in _LIMITS else None,
    )


def _tasks(facts: Facts) -> int | None:
    """Return the number of processes and threads, None if it was not read."""
    words = facts.files.get(_LOAD, "").split()
    total = words[3].partition("/")[2] if len(words) > 3 else ""
    return int(total) if total.isdecimal() and len(total) < 9 else None


def _disputed(values: Mapping[str, str], paths: Mapping[str, str]) -> dict[str, str]:
    """Return why a key cannot be as declared: another one that sets the same value is declared otherwise."""
    reasons = {}
    for key, path in paths.items():
        along = set_along(path)
        for other, there in paths.items():
            both = there in along and path in set_along(there)
            if both and not _same(values[other], values[key]):
                reasons[key] = f"the lab file gives {other} as {_plain(values[other])}: it is the same value"
    return reasons


def _item(key: str, value: str, have: _Observed | None, then: Winner | None) -> Item:
    """Return the item; ``then`` is what a boot sets once labrun's file is as declared."""
    item = Item(key, {"": _plain(value)}, {"": _plain(have.running)} if have else NOTHING)
    if have is None:
        if path_of(key) is None:
            return replace(item, refused=f"{key!r} cannot be the name of a kernel parameter")
        return replace(item, refused=f"{value!r} cannot be the value of a kernel parameter {key!r}")
    if have.running is None:
        return replace(item, refused=f"this kernel has no {key} here")
    if not have.can_hold(value):
        why = f"{key} cannot be written here"
        if have.is_machines:
            return replace(item, skipped=f"{why}: it belongs to the machine, not the container")
        return replace(item, refused=why)
    if have.least is not None and value.strip().isdecimal() and int(value[:20]) <= have.least:
        why = f"{have.least} processes and threads run here, and with {value} none could be started"
        return replace(item, refused=why)
    item = replace(item, words=Words(diff=_diff(key, value, have)))
    if not _same(have.running, value):
        item = replace(item, by_hand=(f"sysctl -w {quote(f'{key}={value}')}",))
    if not _same(have.at_boot, value):
        item = replace(item, later={"": _plain(have.at_boot)})
    if then is None or _same(then.value, value):
        return item
    where = "is read after" if _name(then.file) > _name(DROP_IN) else "counts before"
    why = f"{then.file} sets {_spelled(then.key, key)} = {then.value} and {where} {DROP_IN}"
    if _same(have.running, value) and _same(have.ours, value):
        return replace(item, refused=why)
    return replace(item, note=why)


def _harmful(files: Mapping[str, str], declared: set[str]) -> Iterator[Item]:
    """Yield the keys, not in the lab file, by which the host keeps out pings from the next boot on."""
    for path in _SILENCING:
        then = None if path in declared else winner(path, files)
        if then is not None and _plain(then.value) != "0":
            key = _spelled(path, "")
            why = f"{then.file} sets {_spelled(then.key, key)} = {then.value}: no answer to pings"
            why += ", take it out there"
            yield Item(key, {"": "0"}, {"": "0"}, later={"": _plain(then.value)}, refused=why)


def _not_read(item: Item, unit: Unit) -> Item:
    """Return the item of a host where no boot reads the files."""
    shown = replace(item, later={"": ""})
    if item.state == "ok":
        return replace(shown, refused=unit.not_at_boot)
    return replace(shown, note=unit.not_at_boot) if item.state == "change" else shown


def _name(file: str) -> str:
    return file.rpartition("/")[2]


def _spelled(path: str, key: str) -> str:
    """Return a path below /proc/sys as the lab file spells ``key`` or would."""
    return key if path == path_of(key) else path.translate(str.maketrans("./", "/."))


def _diff(key: str, value: str, have: _Observed) -> str:
    lines = []
    if not _same(have.running, value):
        lines += [f"-running: {key} = {have.running}", f"+running: {key} = {value}"]
    if not _same(have.at_boot, value):
        boot = have.boot
        lines += [f"-{boot.file}: {_spelled(boot.key, key)} = {boot.value}"] if boot is not None else []
        lines.append(f"+{DROP_IN}: {key} = {value}")
    return "\n".join(lines)


def _surplus(before: str | None, kept: set[str], values: Mapping[str, str]) -> Iterator[Item]:
    for path, value in settings_of(before or "").items():
        if path in kept:
            continue
        key = next((key for key in values if path_of(key) == path), _spelled(path, ""))
        if key not in values:
            diff = f"-{DROP_IN}: {key} = {value}"
            yield Item(key, have={"": value}, note="no longer in the lab file", words=Words(diff=diff))


def _sorted(values: Mapping[str, str]) -> Mapping[str, str]:
    first = [key for key in _FIRST if key in values]
    return MappingProxyType({key: values[key] for key in (*first, *(k for k in values if k not in first))})


def _render(values: Mapping[str, str]) -> str:
    return _HEADER + "".join(f"{key} = {value}\n" for key, value in values.items())


def _apply(
    values: Mapping[str, str], observed: Mapping[str, _Observed], paths: Mapping[str, str], more: str
) -> str:
    # A value that the kernel rejects is not written to the file, and does not block other keys.
    lines = ["bad=0", "kept=" + quote(_HEADER)]
    for key, value in values.items():
        line = f"kept=$kept{quote(f'{key} = {value}' + chr(10))}"
        if _same(observed[key].running, value):
            lines.append(line)
            continue
        target = quote("/proc/sys/" + paths[key])
        refused = quote(f"{key}: the kernel refuses the value {value!r}")
        lines.append(
            f"if printf '%s\\n' {quote(value)} 2>/dev/null >{target}\n"
            f"then {line}; else echo {refused}; bad=1; fi"
        )
    lines.append(install_word(DROP_IN, '"$kept"', "0644") if values else f"rm -f {DROP_IN}")
    return "\n".join([*lines, f"{more}exit $bad"])


def _commands(values: Mapping[str, str], to_set: list[str]) -> tuple[str, ...]:
    if not values:
        return (f"rm {DROP_IN}",)
    running = (f"sysctl -w {quote(f'{key}={values[key]}')}" for key in to_set)
    return (*running, typed_file(DROP_IN, _render(values), "0644"))
