# labrun's guard: rolls back what one run changed on this host, unless that run confirms it.
# The lines before this one set its values and define undo_SECTION, kernel_own, and the functions of
# snapshot.sh, compare.sh, put_back.sh and afterwards.sh, and of trees.sh and outside.sh if the change is wide.
#
# armed -> changed -> confirmed, or armed|changed -> undoing -> undone (and gone). The files of these names in
# $guard survive a power cut, and the last of them counts; $live/decided, created by the first to decide, settles
# it while the host is up.

# A failed redirection ends the shell if the command is a special builtin such as `:`, hence `true` here.

# Tell whether the process with this ID and start time still runs.
lives() {
read -r alive_line <"/proc/$1/stat" || return 1
alive_start=$2
# shellcheck disable=SC2086
set -- ${alive_line##*") "}
[ "${20}" = "$alive_start" ] && [ "$1" != Z ]
} 2>/dev/null

# The same for the process named in a file, and whether it has ended; for an empty file neither is true.
is_alive() { read -r alive_pid alive_since <"$1" && lives "$alive_pid" "$alive_since"; } 2>/dev/null
has_died() { read -r died_pid died_since <"$1" && ! lives "$died_pid" "$died_since"; } 2>/dev/null

# Tell whether the process making the change was killed midway: then it never reports the end of the change.
was_cut_off() { [ -e "$guard/armed" ] && has_died "$guard/applying"; }

# The only process started while the host waits: each further one might fail to start when it is needed.
# It ends when there is something to look at, with 9 if processes can no longer be started.
tick() {
tick_kept=0
up_seconds; tick_last=$((up + applying + seconds))
while [ -d "$guard" ]; do
if [ -e "$live/decided" ]; then
read -r tick_what <"$live/decided" || tick_what=
[ "$tick_what" != undo ] || return 0
# A confirming process needs two more steps; if they are missing it has died on the way.
tick_kept=$((tick_kept + 1)); [ $tick_kept -lt 15 ] || return 0
else
! was_cut_off || return 0
read -r tick_until <"$guard/until" 2>/dev/null
case $tick_until in "" | *[!0-9]*) tick_until=$tick_last;; esac
up_seconds; [ "$up" -lt "$tick_until" ] && [ "$up" -lt "$tick_last" ] || return 0
fi
# Each look costs a process. Whoever decides wakes this with a signal.
sleep 2 || return 9
done
}

is_empty() { [ -e "$1" ] && [ ! -s "$1" ]; }

# Wait for the decision; end the script if the change was confirmed.
await() {
while :; do
tick & await_tick=$!
while :; do
wait $await_tick; await_ended=$?
decided=
[ ! -e "$live/decided" ] || read -r decided <"$live/decided"
[ "$decided" != undo ] || return
# Only a signal to this process ends `wait` while the other still runs.
[ $await_ended -gt 128 ] || break
kill -0 $await_tick || break
done 2>/dev/null
if [ ! -d "$guard" ]; then
[ -n "$wide" ] && [ ! -e "$live/decided" ] && recover || exit 0
echo undo >"$live/decided"; return
fi
[ ! -e "$guard/confirmed" ] || exit 0
# It is empty where there was no memory for it: whoever created it has not gone on.
if [ "$decided" = keep ] || is_empty "$live/decided"; then echo undo >"$live/decided"; return; fi
! was_cut_off || occasion='cut'
# Only one of the two can create this file. Where /dev/null is a plain file, that could not be opened either.
set -C
if true 2>&- >"$live/decided"; then set +C; echo undo >"$live/decided"; return; fi
set +C
[ -d "$live" ] || return
# Nobody else has made it: there is no room for it.
[ -e "$live/decided" ] || make_room
done
}

# What was kept free when arming is for the rollback, and for what the services that it starts write.
make_room() { rm -f "$live"/room.*; } 2>/dev/null

mark_undoing() {
[ -e "$guard/undoing" ] || mv "$guard/changed" "$guard/undoing" || mv "$guard/armed" "$guard/undoing"
} 2>/dev/null

# Kill whatever still changes this host, and what it left running, before undoing its work.
stop_applying() {
if is_alive "$guard/applying"; then
read -r stop_pid stop_rest <"$guard/applying"
read -r stop_line <"/proc/$stop_pid/stat"
# shellcheck disable=SC2086
set -- ${stop_line##*") "}
kill -KILL "-$3"
fi
stop_left
} 2>/dev/null

# Every process started by the change has this in its environment, wherever it has moved since.
stop_left() {
# shellcheck disable=SC2013 # paths below /proc have no spaces
for stop_pid in $(grep -lsz "^LABRUN_CHANGE=$run\$" /proc/[0-9]*/environ); do
stop_pid=${stop_pid#/proc/}; kill -KILL "${stop_pid%/environ}"
done
} 2>/dev/null

# The record that the controller reads. It is also kept in memory, so that a full disk does not matter; on
# the disk it takes the space reserved for it.
write_record() {
record=$(printf '%s %s\n' "$run" "$occasion"; printf '%s\n' "$1" | head -n 20 | cut -c 1-300)
printf '%s\n' "$record" >/run/labrun-rolled-back
[ -e "$guard/record" ] || true >"$guard/record"
printf '%s\n' "$record" 1<>"$guard/record"
mv -f "$guard/record" /var/lib/labrun/rolled-back
} 2>/dev/null

finish() {
# The earlier states go first: what is left of this folder after a power cut must not count as unconfirmed.
rm -f "$guard/armed" "$guard/changed" "$unit" "$link" /dev/.labrun-null
if [ -s "$guard/folders" ]; then
while IFS= read -r finish_folder; do rm -rf "$finish_folder/.labrun-kept"; done <"$guard/folders"
fi
if [ -s "$guard/roots" ]; then
while IFS= read -r finish_root; do rm -rf "$finish_root/.labrun-tree"; done <"$guard/roots"
# A folder that the change has moved took the copies in it along.
[ ! -e "$live/moved" ] || find / /home -xdev -maxdepth 5 -path '*/.ssh/.labrun-tree' -prune -exec rm -rf {} +
fi
rm -rf "$live"
rm -rf "$guard"
}

# The last resort, once: undo what is on the disk before the network starts.
start_anew() {
[ "$resort" = reboot ] && [ ! -e "$guard/rebooted" ] || return 0
true >"$guard/rebooted" || return 0
sync "$guard"
echo "labrun: $closed; this host reboots"
timeout 20 systemctl --no-wall reboot || timeout 10 systemctl --force --no-wall reboot || timeout 20 reboot || reboot -f
sleep 120
}

undo() {
# Before anything else, and without another process.
kernel_own
kernel_make_room
make_room
! is_empty "$live/decided" || echo undo >"$live/decided"
[ "$on" != live ] || [ ! -e "$guard/mounts" ] || uncover
tries=0
while :; do
mark_undoing
[ "$on" != live ] || stop_applying
attempt
[ -n "$failing" ] || break
[ "$on" = live ] || return
tries=$((tries + 1))
# Report now, since a session may be waiting, and keep trying. If the way in is closed, a reboot may help.
if [ $tries -eq 3 ]; then
write_record "$(differences)
the host keeps trying"
closed=$(way_in)
[ -z "$closed" ] || start_anew
fi
sleep $((tries < 10 ? tries : 30))
done
differ=$(differences) closed=
if [ "$on" = live ]; then
for pause in 1 1 2 4; do
[ -n "$differ" ] || break
# A difference that keeps coming back is still being made.
[ $pause -eq 1 ] || { stop_applying; [ -z "$wide" ] || stop_transient; }
sleep $pause; attempt; differ=$(differences)
done
# A login that only works at times does not count either.
closed=$(still_open)
for pause in 1 2 4; do
[ -n "$closed" ] || break
sleep $pause; stop_applying; [ -z "$wide" ] || stop_transient; attempt; differ=$(differences); closed=$(still_open)
done
fi
if [ -n "$closed" ]; then
differ="$differ
$closed"
start_anew
fi
# Units that are enabled again have to start in this boot.
if [ "$on" = boot ] && [ -e "$guard/units" ] && [ -d /run/systemd/system ]; then
timeout 20 systemctl daemon-reload
timeout 20 systemctl --no-block start default.target
fi
# Undone, but not recorded yet: retry this too until it succeeds.
until mv "$guard/undoing" "$guard/undone" 2>/dev/null || [ -e "$guard/undone" ] || [ ! -d "$guard" ]; do
mark_undoing; sleep 2
done
write_record "$differ"
until finish; do sleep 5; done
}

is_pending() {
[ ! -e "$guard/confirmed" ] && [ ! -e "$guard/undone" ] || return
[ -e "$guard/armed" ] || [ -e "$guard/changed" ] || [ -e "$guard/undoing" ]
}

decide() {
set -C
if printf 'undo\n' 2>&- >"$live/decided"; then echo "$1" >"$live/occasion"; fi
set +C
}

# Decide on a rollback, unless there is a decision already, and make sure that a process carries it out.
demand() {
is_pending || { finish; return; }
[ -d "$live" ] || mkdir -p "$live" || return
decide "$1"
[ -e "$live/decided" ] || { make_room; decide "$1"; }
if is_alive "$live/pid"; then kill -USR1 "$alive_pid"; else start_watch; fi
}

main() {
cd / || exit
on=live occasion=timer failing=
case ${1-} in
now | again)
[ "${2-$run}" != "$run" ] || demand "$1"
exit;;
boot)
# systemd starts this again when it reloads its units; only a boot clears the memory.
[ ! -e "$live" ] || exit 0
mkdir -p "$live" || exit
is_pending || { finish; exit; }
on=boot occasion=boot
undo
if [ -d "$guard" ]; then
# Whatever could not be restored before the network starts is retried later: the boot continues.
echo undo >"$live/decided"; echo boot >"$live/occasion"; rm -f "$live"/done.*
start_watch
fi
exit;;
esac
# A signal counts as a failure, after which systemd restarts this, as long as there is something to guard. The
# reader of this output may be gone.
trap '[ ! -d "$guard" ] || exit 7; exit 0' HUP INT TERM
trap '' PIPE
trap : USR1
IFS=' ' read -r self_pid self_rest </proc/self/stat
# shellcheck disable=SC2086
set -- ${self_rest##*") "}
echo "$self_pid ${20}" >"$live/pid"
await
[ ! -e "$live/occasion" ] || read -r occasion <"$live/occasion"
undo
}

[ -n "${labrun_only-}" ] || { main "$@"; exit; }
