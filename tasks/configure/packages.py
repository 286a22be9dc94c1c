"""The distribution's packages: missing ones are installed, all in one transaction."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from labrun.inventory.model import Host, Lab
from labrun.tasks.configure.plan import Json, SectionPlan
from labrun.tasks.guest.facts.guard import GUARD
from labrun.tasks.guest.shell import Captured, Facts, Probe, quote
from labrun.tasks.state.item import Attributes, Item, Words
from labrun.tasks.state.sections import PACKAGES

__all__ = ["Packages"]

_INSTALLED: Attributes = {"": "installed"}

# One process queries all packages; unknown ones are omitted.
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
# Another apt may hold the lock, such as the daily one: wait for it. Changed configuration files stay.
# Without a logind to inhibit a shutdown meanwhile, apt would wait 25 seconds for one.
# Conflicting packages, sshd for instance, are not removed: that could not be undone.
# apt-get update exits with 0 even for unreachable sources: its messages count if a package is missing.
_APT = """\
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
inhibit=true
[ -d /run/systemd/inhibit ] || inhibit=false
apt() {{
apt-get --quiet=2 --yes --no-remove --option DPkg::Lock::Timeout=60 --option Dpkg::Use-Pty=0 \
--option DPkg::Inhibit-Shutdown=$inhibit \\
--option Dpkg::Options::=--force-confdef --option Dpkg::Options::=--force-confold \\
--option Acquire::Retries=1 --option Acquire::http::Timeout=15 --option Acquire::https::Timeout=15 "$@" 2>&1
}}
# What a package starts keeps the output open: it goes to a file, which nobody waits for.
said=/run/labrun-packages
updated=$(apt update) || :
if ! apt install {names} >"$said"; then
trouble=$(printf '%s\\n' "$updated" | sed -n '/^[EW]: /{{s/^[EW]: *//;p;q}}')
sed -n 's/^E: Unable to locate package \\(.*\\)$/\\1/p' "$said" | while read -r name
do echo "$name: apt-get finds no such package${{trouble:+ (apt-get update: $trouble)}}"; done
echo "apt-get: $(sed -n '/^E: /{{s/^E: *//;p;q}}' "$said")"
exit 1
fi
"""
_DNF = """\
said=/run/labrun-packages
if ! dnf --assumeyes --quiet install {names} >"$said" 2>&1; then
sed -n 's/^No match for argument: \\(.*\\)$/\\1: dnf finds no such package/p' "$said"
echo "dnf: $(sed -n '/[^[:space:]]/{{s/^Error: *//;p;q}}' "$said")"
exit 1
fi
"""
_SCRIPTS = {"apt": _APT, "dnf": _DNF}
_RPMS = "rpm --query --all --queryformat '%{NAME}.%{ARCH}\\n' | sort"
# An armed guard gets a list of the packages installed before. For dpkg it keeps one by itself.
_BEFORE = {"apt": "", "dnf": f"[ ! -d {GUARD} ] || {_RPMS} >{GUARD}/rpms\n"}
# Newly installed packages are removed; the guard then undoes other effects of their scripts.
_UNDO = {
    "apt": "true\n",
    "dnf": f"""\
[ "$on" = live ] && [ -e "$guard/rpms" ] || exit 0
{_RPMS} >"$live/rpms"
set -- $(comm -13 "$guard/rpms" "$live/rpms")
[ $# -eq 0 ] || timeout 60 rpm --erase --nodeps "$@"
""",
}
# The timeout for all of it; the guard ends what takes longer (seconds).
_PATIENCE = 170


class Packages:
    """The resource ``packages``; rows are named after the packages, ``actual`` is the version."""

    section = PACKAGES.name

    def desired(self, lab: Lab, host: Host) -> Json | None:
        """Return ``{"names": […]}``; None if the lab file lists no packages."""
        names = list(dict.fromkeys(host.packages))
        return {"names": names} if names else None

    def names(self, want: Json) -> tuple[str, ...]:
        """Return the packages' names."""
        return tuple(want["names"])

    def facts(self, want: Json) -> tuple[Probe, ...]:
        """Ask dpkg, or else rpm, once about all packages."""
        return (Probe((), _PROBE.format(names=_words(want["names"]))),)

    def plan(self, want: Json, facts: Facts) -> SectionPlan:
        """Return the packages that are not installed."""
        manager = facts.word("packages-by")
        if manager is None:
            why = "labrun knows apt-get and dnf, and neither is here"
            refused = (Item(name, _INSTALLED, refused=why) for name in want["names"])
            return SectionPlan(self.section, tuple(refused))
        said = facts.commands.get("packages", Captured("", 127))
        versions = dict(_versions(said.text))
        items = tuple(_item(name, _version(name, versions)) for name in want["names"])
        missing = [item.name for item in items if item.state == "change"]
        if not missing:
            return SectionPlan(self.section, items)
        script = _BEFORE[manager] + _SCRIPTS[manager].format(names=_words(missing))
        return SectionPlan(
            self.section,
            items,
            script,
            _UNDO[manager],
            _commands(missing, manager),
            partial=True,
            wide=True,
            seconds=_PATIENCE,
        )

    def explain(self, want: Json) -> tuple[str, ...]:
        """Return apt-get's commands: the host's package manager is unknown here; labrun's image has apt."""
        return _commands(want["names"], "apt")


def _words(names: list[str]) -> str:
    return " ".join(quote(name) for name in names)


def _versions(text: str) -> Iterator[tuple[str, str]]:
    """Yield ``name:architecture`` and version of each package that is completely installed."""
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
    # An upgrade is not drift: the file does not declare a version.
    have = {} if version is None else _INSTALLED
    return Item(name, _INSTALLED, have, words=Words(actual=version or "not installed"))


def _commands(names: list[str], manager: str) -> tuple[str, ...]:
    if manager == "dnf":
        return (f"dnf install --assumeyes {_words(names)}",)
    return ("apt-get update", f"apt-get install --yes {_words(names)}")
