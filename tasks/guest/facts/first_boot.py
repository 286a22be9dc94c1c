"""What has become of a guest's first boot: cloud-init's result, or what keeps it from having one."""

from __future__ import annotations

from dataclasses import dataclass, field

from labrun.bounded import as_list, as_object, read_json

__all__ = ["FirstBoot", "first_boot"]

_MOST_LINES, _LONGEST_LINE, _LONGEST_ERROR = 500, 65_536, 400
_MOST_JOBS = 3
_OWN = "labrun-cloud-init.service"
_DISABLED = "cloud-init is disabled in it (/etc/cloud/cloud-init.disabled, or its kernel's command line)"
_BOOTING = ("", "initializing", "starting")


@dataclass(frozen=True, slots=True)
class FirstBoot:
    """What ``first_boot.sh`` printed.

    ``errors`` are cloud-init's own, None = it has no result yet. ``units`` has the LoadState, ActiveState
    and Result of each of its units, ``said`` the last errors in its logs. ``boot`` is systemd's state (empty
    = not known), ``jobs`` what the boot waits for.
    """

    errors: tuple[str, ...] | None = None
    is_disabled: bool = False
    is_absent: bool = False
    units: dict[str, tuple[str, str, str]] = field(default_factory=dict)
    said: tuple[str, ...] = ()
    boot: str = ""
    jobs: tuple[str, ...] = ()

    @property
    def trouble(self) -> str:
        """Return why cloud-init has not done, or will not do, its work; empty if it has, or still may."""
        if self.errors is not None:
            return f"cloud-init: {'; '.join(self.errors)}" if self.errors else ""
        if self.is_absent:
            return "there is no cloud-init in it: nobody sets up its addresses and logins"
        own = self.units.get(_OWN, ("", "", ""))
        # labrun's own images have one unit in place of the package's, which are masked there.
        units = {_OWN: own} if own[0] in ("loaded", "masked") else self.units
        for name, (_, active, result) in units.items():
            if active == "failed":
                said = f": {self.said[-1]}" if self.said else ""
                return f"cloud-init: {name} failed ({result}){said}"
        if self.is_disabled:
            return _DISABLED
        if self.boot in _BOOTING:
            return ""
        known = {name: load for name, (load, _, _) in units.items() if load not in ("", "not-found")}
        masked = [name for name, load in known.items() if load == "masked"]
        if masked:
            return f"cloud-init has not run: {masked[0]} is masked"
        idle = [name for name in known if units[name][1] == "inactive"]
        return f"cloud-init has not run: {idle[-1]} is inactive" if idle else ""

    @property
    def waiting(self) -> str:
        """Return what the boot waits for, as the end of a sentence; empty if it waits for nothing."""
        if self.boot not in _BOOTING or not self.boot:
            return ""
        jobs = ", ".join(self.jobs[:_MOST_JOBS])
        return f" (systemd: {self.boot}{f', waiting for {jobs}' if jobs else ''})"


def first_boot(text: str) -> FirstBoot:
    """Return what ``first_boot.sh`` printed. Raises UnreadableError."""
    errors: tuple[str, ...] | None = None
    units: dict[str, tuple[str, str, str]] = {}
    words: set[str] = set()
    said, jobs, boot = [], [], ""
    shown: dict[str, str] = {}
    for line in text.split("\n", _MOST_LINES)[:_MOST_LINES]:
        word, _, rest = line[:_LONGEST_LINE].partition(" ")
        if word == "result":
            errors = _errors(rest)
        elif word == "said":
            said.append(rest.strip()[:_LONGEST_ERROR])
        elif word == "job":
            jobs.append(rest.strip()[:_LONGEST_ERROR])
        elif word == "boot":
            boot = rest.strip()[:_LONGEST_ERROR]
        elif word == "unit":
            shown = {}
        elif word in ("Id", "LoadState", "ActiveState", "Result"):
            shown[word] = rest.strip()[:_LONGEST_ERROR]
            if "Id" in shown:
                state = (shown.get("LoadState", ""), shown.get("ActiveState", ""), shown.get("Result", ""))
                units[shown["Id"]] = state
        else:
            words.add(word)
    return FirstBoot(errors, "disabled" in words, "absent" in words, units, tuple(said), boot, tuple(jobs))


def _errors(text: str) -> tuple[str, ...] | None:
    result = read_json(text, "cloud-init")
    if result is None:
        return None
    version = as_object(as_object(result, "cloud-init").get("v1"), "cloud-init")
    errors = as_list(version.get("errors") or [], "cloud-init")
    return tuple(str(each)[:_LONGEST_ERROR] for each in errors)
