"""Shell text of the guard: what a guest runs to take a change back by itself unless it is confirmed.

Everything the guard is lies in one directory of the guest. Its file ``armed`` decides: confirming
renames it in one way, undoing in another, and of two renames of one file only one succeeds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from labrun.tasks.configure.plan import HostPlan, SectionPlan
from labrun.tasks.configure.shell import Probe, quote, section

__all__ = [
    "DIRECTORY",
    "PROBE",
    "RECORD",
    "UNIT",
    "Ticket",
    "arm",
    "confirm",
    "guarded",
    "nothing_more",
    "trigger",
]

DIRECTORY = "/var/lib/labrun/guard"
RECORD = "/var/lib/labrun/rolled-back"
"""Which run the host took back last, and on what occasion: ``RUN timer``, ``now``, ``again``, ``boot``."""
UNIT = "/etc/systemd/system/labrun-guard.service"
_THIS_BOOT = "/run/labrun-guard"
_LINK = "/etc/systemd/system/sysinit.target.wants/labrun-guard.service"
_NM = "org.freedesktop.NetworkManager"
_MANAGER = f"busctl --auto-start=no {{}} {_NM} /org/freedesktop/NetworkManager {_NM}"
# Of what speaks D-Bus this takes the least time to start; not every host has it.
_SEND = "dbus-send --system --print-reply=literal"
_OBJECTS = (
    f"busctl --auto-start=no --json=short call {_NM} "
    "/org/freedesktop org.freedesktop.DBus.ObjectManager GetManagedObjects"
)

PROBE = Probe(
    (RECORD, f"{DIRECTORY}/owner", f"{DIRECTORY}/until"),
    f"""\
if [ -d {DIRECTORY} ]; then
for f in armed undoing confirmed undo; do [ ! -e {DIRECTORY}/$f ] || frame guard $f; done
read -r up rest </proc/uptime; frame guard-uptime "${{up%.*}}"
read -r boot </proc/sys/kernel/random/boot_id; frame guard-boot "$boot"
fi
""",
)
"""What a gather reads of the guard: nothing is started for it where there is none."""

# No daemon-reload is needed: systemd reads it when it boots. Where somebody reloads before that, starting
# any service would start this too, because sysinit.target wants it: hence the file in /run, which does not
# survive a boot.
_BOOT_UNIT = f"""\
[Unit]
Description=Take back a change by labrun that nobody confirmed
DefaultDependencies=no
ConditionPathExists={DIRECTORY}/undo
ConditionPathExists=!{_THIS_BOOT}
After=local-fs.target
Before=systemd-sysctl.service network-pre.target NetworkManager.service ssh.service sshd.service
Before=ssh.socket sshd.socket nftables.service labrun-nftables.service sysinit.target shutdown.target
Conflicts=shutdown.target
[Service]
Type=oneshot
ExecStart=/bin/sh {DIRECTORY}/undo boot
"""

# Seconds of uptime, because a clock can be set; the applying script is ended before its work is undone.
_UNDO = """\
# labrun: takes back what run {run} changed on this host, unless that is confirmed.
export LC_ALL=C.UTF-8 PATH="$PATH:/usr/sbin:/sbin"
run={run} guard={directory} live=yes checkpoint=
cd "$guard" || exit 0
[ "$1" != boot ] || [ ! -e {this_boot} ] || exit 0
[ "$1" != boot ] || live=no
[ "$live" = no ] || [ "$2" = "$run" ] || exit 0
tidy() {{
rm -rf {unit} {link} {this_boot} "$guard"
[ "$live" = no ] || systemctl stop "labrun-guard-$run.timer" 2>/dev/null
}}
uptime() {{ read -r up rest </proc/uptime; up=${{up%.*}}; }}
if [ "$1" = timer ]; then
uptime; last=$((up + {applying}))
while [ -e armed ]; do
read -r until <until
case $until in "" | *[!0-9]*) until=$last;; esac
uptime; [ "$up" -lt "$until" ] && [ "$up" -lt "$last" ] || break
sleep 0.3
done
fi
[ ! -e confirmed ] || [ "$1" = timer ] || [ "$1" = now ] || {{ tidy; exit 0; }}
[ -e undoing ] && [ "$1" != timer ] && [ "$1" != now ] || mv armed undoing 2>/dev/null || exit 0
if [ "$live" = yes ] && read -r pid start <applying && read -r line <"/proc/$pid/stat"; then
set -- "$1" ${{line##*") "}}
[ "${{21}}" != "$start" ] || kill -KILL "-$4"
fi 2>/dev/null
if [ -s checkpoint ]; then
read -r kind checkpoint <checkpoint; checkpoint=${{checkpoint#?}}; checkpoint=${{checkpoint%?}}
fi
restore() {{
if [ ! -e "$guard/kept$1" ]; then rm -f "$1"
else
cp -p "$guard/kept$1" "${{1%/*}}/.labrun-restored" && mv -f "${{1%/*}}/.labrun-restored" "$1" ||
{{ rm -f "${{1%/*}}/.labrun-restored"; false; }}
fi
}}
roll_back() {{ [ -n "$checkpoint" ] && {rollback} CheckpointRollback o "$checkpoint"; }}
{sections}printf ' %s\\n' "$1" >>record
mv -f record {record}
tidy
"""


@dataclass(frozen=True, slots=True)
class Ticket:
    """Whose change it is: the run's ID, who says so to others, and how long it waits to be confirmed.

    ``seconds`` begin when the change has been made, for which ``applying`` seconds are allowed.
    """

    run: str
    owner: str
    seconds: int
    applying: int

    @property
    def timer(self) -> str:
        """Return the name of the transient unit that undoes the change in time."""
        return f"labrun-guard-{self.run}"


def guarded(plan: HostPlan) -> tuple[SectionPlan, ...]:
    """Return the sections that change something and can be taken back, in the order they are applied."""
    return tuple(part for part in plan.sections if part.apply and part.undo)


def _undo_script(ticket: Ticket, parts: Sequence[SectionPlan]) -> str:
    sections = "".join(f"(\n{part.undo.rstrip()}\n) </dev/null\n" for part in reversed(parts))
    return _UNDO.format(
        run=quote(ticket.run),
        directory=DIRECTORY,
        unit=UNIT,
        link=_LINK,
        this_boot=_THIS_BOOT,
        rollback=_MANAGER.format("call"),
        sections=sections,
        record=RECORD,
        applying=ticket.applying,
    )


def arm(ticket: Ticket, plan: HostPlan) -> str:
    """Return shell text that arms the guard, or ends the script with nothing changed and says why.

    It is the section ``guard``; the frame ``guard-held`` says that another guard stands there. Where
    nothing can be taken back there is nothing to arm.
    """
    parts = guarded(plan)
    if not parts:
        return ""
    checkpoint = any(part.section == "nmcli" for part in parts)
    saves = tuple(dict.fromkeys(path for part in parts for path in part.saves))
    lines = _prepare(ticket, parts, saves) + _start(ticket, checkpoint, saves)
    # Not $$: the script may be one of several that a shell runs, each in a process of its own.
    text = f"read -r self </proc/self/stat\n{section('guard', lines)}"
    return f"{text}[ $status -eq 0 ] || {{\n{_give_up(ticket)}frame end; exit 0; }}\n"


def _prepare(ticket: Ticket, parts: Sequence[SectionPlan], saves: Sequence[str]) -> str:
    """Make the directory under another name, complete; renaming it takes the lock and arms at once."""
    folders = dict.fromkeys(path.rpartition("/")[0] for path in saves)
    made = " ".join(f'"$new/kept"{quote(folder)}' for folder in folders)
    copies = "".join(_copies(folder, saves) for folder in folders)
    return f"""\
umask 077
new={_new(ticket)}
mkdir -p "$new" {made}
read -r up rest </proc/uptime
read -r boot </proc/sys/kernel/random/boot_id
set -- ${{self##*") "}}
echo "${{self%% *}} ${{20}}" >"$new/applying"
printf '%s\\n' {quote(ticket.run)} {quote(ticket.owner)} "$boot" >"$new/owner"
echo $((${{up%.*}} + {ticket.applying + ticket.seconds})) >"$new/until"
printf %s {quote(ticket.run)} >"$new/record"
printf %s {quote(_undo_script(ticket, parts))} >"$new/undo"
: >"$new/armed"
{copies}\
if ! mv -T "$new" {DIRECTORY} 2>/dev/null; then
[ ! -d {DIRECTORY} ] || exit 3
echo "{DIRECTORY} cannot be made"; exit 1
fi
"""


def _copies(folder: str, saves: Sequence[str]) -> str:
    """Copy those of the files in one directory that are there, with one process."""
    names = " ".join(quote(path) for path in saves if path.rpartition("/")[0] == folder)
    return f"""\
set --
for f in {names}; do [ ! -e "$f" ] || set -- "$@" "$f"; done
[ $# -eq 0 ] || cp -p "$@" "$new/kept"{quote(folder)}
"""


def _new(ticket: Ticket) -> str:
    return quote(f"{DIRECTORY}.{ticket.run}")


def _start(ticket: Ticket, checkpoint: bool, saves: Sequence[str]) -> str:
    """Start what may undo the change: NetworkManager's own net, the timer, the unit of the next boot."""
    lines = ""
    if checkpoint:
        # Later than the guard's own time: two that undo at different times could undo one half.
        seconds = 2 * (ticket.applying + ticket.seconds)
        lines += f"{_MANAGER.format('call')} CheckpointCreate aouu 0 {seconds} 6 >{DIRECTORY}/checkpoint\n"
    files = " ".join(quote(f"{DIRECTORY}/kept{path}") for path in saves)
    wants = _LINK.rpartition("/")[0]
    return f"""{lines}\
systemd-run --quiet --collect --on-active={ticket.seconds} --timer-property=AccuracySec=100ms \\
--unit={quote(ticket.timer)} /bin/sh {DIRECTORY}/undo timer {quote(ticket.run)}
: >{_THIS_BOOT}
printf %s {quote(_BOOT_UNIT)} >{UNIT}
[ -d {wants} ] || mkdir {wants}
ln -sf {UNIT} {_LINK}
set -- {DIRECTORY} {DIRECTORY}/undo {UNIT}
for f in {files}; do [ ! -e "$f" ] || set -- "$@" "$f"; done
sync "$@"
"""


def _destroy() -> str:
    """Return shell text that gives NetworkManager's checkpoint up, where there is one."""
    return f"""\
if [ -s {DIRECTORY}/checkpoint ]; then
read -r kind point <{DIRECTORY}/checkpoint; point=${{point#?}}
{_SEND} --dest={_NM} /org/freedesktop/NetworkManager {_NM}.CheckpointDestroy objpath:"${{point%?}}" ||
{_MANAGER.format("call")} CheckpointDestroy o "${{point%?}}"
fi
"""


def _tidy(ticket: Ticket) -> str:
    """Return shell text that removes whatever the guard is made of."""
    timer = f"{ticket.timer}.timer"
    systemd = "org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1"
    return f"""\
{_destroy()}\
{_SEND} --dest={systemd}.Manager.StopUnit string:{quote(timer)} string:replace ||
systemctl stop {quote(timer)}
rm -rf {UNIT} {_LINK} {_THIS_BOOT} {DIRECTORY}
"""


def _give_up(ticket: Ticket) -> str:
    """Say why the guard could not be armed, as far as more can be known, and leave nothing of it."""
    return f"""\
if [ $status -eq 3 ]; then
{{ read -r run; read -r owner; }} <{DIRECTORY}/owner
read -r until <{DIRECTORY}/until
read -r up rest </proc/uptime; frame guard-held "$((until - ${{up%.*}})) $owner"
else
read -r run <{DIRECTORY}/owner
if [ "$run" = {quote(ticket.run)} ]; then
[ ! -e {DIRECTORY}/checkpoint ] || [ -s {DIRECTORY}/checkpoint ] || {{
capture checkpoints {_OBJECTS}
read -r up rest </proc/uptime; frame guard-uptime "${{up%.*}}"; }}
{{ {_tidy(ticket)} }} >/dev/null
fi
fi 2>/dev/null
rm -rf {_new(ticket)}
"""


def nothing_more(ticket: Ticket) -> str:
    """Return shell text for the end of the changes: from now on the time to confirm runs."""
    return f"""\
if [ -e {DIRECTORY}/armed ]; then
: >{DIRECTORY}/applying
read -r up rest </proc/uptime; echo $((${{up%.*}} + 1 + {ticket.seconds})) >{DIRECTORY}/until
fi
"""


def confirm(ticket: Ticket, record: str) -> str:
    """Return shell text that makes the change permanent, or does nothing where it was undone already.

    It is the section ``confirm``: status 0 = confirmed. ``record`` is what remembers the change.
    """
    lines = f"""\
read -r run <{DIRECTORY}/owner
[ "$run" = {quote(ticket.run)} ]
mv {DIRECTORY}/armed {DIRECTORY}/confirmed
sync {DIRECTORY}
set +e
{_tidy(ticket)}"""
    return f"{section('confirm', lines)}if [ $status -eq 0 ]; then\n{section('record', record)}fi\n"


def trigger(occasion: str, run: str) -> str:
    """Return shell text that starts the undoing of ``run`` beside the session, which it may cut.

    ``occasion`` is ``now``, or ``again`` for a guard that is left over.
    """
    words = f"/bin/sh {DIRECTORY}/undo {occasion} {quote(run)}"
    return f"""\
if [ ! -e {DIRECTORY}/undo ]; then rm -rf {DIRECTORY} {UNIT} {_LINK} {_THIS_BOOT}
else systemd-run --quiet --collect {words} || {{ setsid {words} </dev/null >/dev/null 2>&1 & }}
fi
"""
