"""Packages of the distribution: what is missing is installed, all of it in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from labrun.inventory.model import Host, Lab
from labrun.tasks.configure.plan import Item, Json, SectionPlan
from labrun.tasks.configure.shell import Captured, Facts, Probe, quote

__all__ = ["Packages"]

_INSTALLED, _MISSING = "installed", "not installed"

# One process tells of all packages, those that it does not know left out.
_PROBE = """\
if command -v dpkg-query >/dev/null; then
frame packages-by apt
capture packages dpkg-query --show \\
--showformat '${{Package}}:${{Architecture}} ${{db:Status-Status}} ${{Version}}\\n' {names}
elif command -v rpm >/dev/null; then
frame packages-by dnf
capture packages rpm --query \
--queryformat '%{{NAME}}:%{{ARCH}} installed %{{VERSION}}-%{{RELEASE}}\\n' {names}
fi
"""
# Another apt may be at work, such as the daily one: it is waited for. What somebody configured stays so.
# Without a logind that could keep the machine from halting meanwhile, apt waits 25 seconds for one.
# apt-get update ends with 0 whatever it could not reach: what it said counts where something is missing.
_APT = """\
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
inhibit=true
[ -d /run/systemd/inhibit ] || inhibit=false
apt() {{
apt-get --quiet=2 --yes --option DPkg::Lock::Timeout=60 --option Dpkg::Use-Pty=0 \
--option DPkg::Inhibit-Shutdown=$inhibit \\
--option Dpkg::Options::=--force-confdef --option Dpkg::Options::=--force-confold \\
--option Acquire::Retries=1 --option Acquire::http::Timeout=15 --option Acquire::https::Timeout=15 "$@" 2>&1
}}
updated=$(apt update) || :
if ! said=$(apt install {names}); then
trouble=$(printf '%s\\n' "$updated" | sed -n '/^[EW]: /{{s/^[EW]: *//;p;q}}')
printf '%s\\n' "$said" | sed -n 's/^E: Unable to locate package \\(.*\\)$/\\1/p' | while read -r name
do echo "$name: apt-get finds no such package${{trouble:+ (apt-get update: $trouble)}}"; done
echo "apt-get: $(printf '%s\\n' "$said" | sed -n '/^E: /{{s/^E: *//;p;q}}')"
exit 1
fi
"""
_DNF = """\
if ! said=$(dnf --assumeyes --quiet install {names} 2>&1); then
printf '%s\\n' "$said" | sed -n 's/^No match for argument: \\(.*\\)$/\\1: dnf finds no such package/p'
echo "dnf: $(printf '%s\\n' "$said" | sed -n '/[^[:space:]]/{{s/^Error: *//;p;q}}')"
exit 1
fi
"""
_SCRIPTS = {"apt": _APT, "dnf": _DNF}


class Packages:
    """The resource ``packages``; rows are named after the packages, ``actual`` is the version."""

    section = "packages"

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return ``{"names": […]}``; None where the lab file names no package."""
        names = list(dict.fromkeys(host.packages))
        return {"names": names} if names else None

    def names(self, want: Json) -> tuple[str, ...]:
        """Return the packages' names."""
        return tuple(want["names"])

    def probe(self, want: Json) -> Probe:
        """Ask dpkg, or else rpm, once for all packages."""
        return Probe((), _PROBE.format(names=_words(want["names"])))

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the packages that are not installed."""
        manager = facts.word("packages-by")
        if manager is None:
            why = "labrun knows apt-get and dnf, and neither is here"
            refused = (Item(name, "refused", _INSTALLED, "", why) for name in want["names"])
            return SectionPlan(self.section, tuple(refused))
        said = facts.commands.get("packages", Captured("", 127))
        versions = dict(_versions(said.text))
        items = tuple(_item(name, _version(name, versions)) for name in want["names"])
        missing = [item.name for item in items if item.state == "change"]
        if not missing:
            return SectionPlan(self.section, items)
        script = _SCRIPTS[manager].format(names=_words(missing))
        return SectionPlan(self.section, items, script, "", _commands(missing, manager))

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return apt-get's commands: which one a host has is not known here, and labrun's image has that."""
        return _commands(want["names"], "apt")


def _words(names: list[str]) -> str:
    return " ".join(quote(name) for name in names)


def _versions(text: str) -> Iterator[tuple[str, str]]:
    """Yield ``name:architecture`` and version of each package that is there and whole."""
    for line in text.splitlines():
        words = line.split()
        if len(words) == 3 and words[1] == "installed":
            yield words[0], words[2]


def _version(name: str, versions: Mapping[str, str]) -> str | None:
    wanted, _, architecture = name.partition(":")
    for full, version in versions.items():
        found, _, built = full.partition(":")
        if found == wanted and architecture in ("", built):
            return version
    return None


def _item(name: str, version: str | None) -> Item:
    if version is None:
        diff = f"+{name}"
        return Item(name, "change", _INSTALLED, _MISSING, None, diff, declared=_INSTALLED, observed=_MISSING)
    # An upgrade is no drift: the file asks for no version.
    return Item(name, "ok", _INSTALLED, version, declared=_INSTALLED, observed=_INSTALLED)


def _commands(names: list[str], manager: str) -> tuple[str, ...]:
    if manager == "dnf":
        return (f"dnf install --assumeyes {_words(names)}",)
    return ("apt-get update", f"apt-get install --yes {_words(names)}")
