# labrun's guard: takes back what one run changed on this host, unless that run confirms it.
# What stands before this are its values, the functions undo_SECTION and kernel_own, and those of snapshot.sh,
# put_back.sh and afterwards.sh.
#
# armed -> changed -> confirmed, or armed|changed -> undoing -> undone (and gone). The files of these names in
# $guard outlive the power; $live/decided, made by whoever is first, decides while the host runs.

# A redirection that fails ends the shell where the command is a special one such as `:`, hence `true` here.

# Whether the process with this ID that started then is still the same.
lives() {
read -r alive_line <"/proc/$1/stat" || return 1
alive_start=$2
# shellcheck disable=SC2086
set -- ${alive_line##*") "}
[ "${20}" = "$alive_start" ] && [ "$1" != Z ]
} 2>/dev/null

# The same for the process that a file names, and whether it has ended; of an empty file neither is so.
is_alive() { read -r alive_pid alive_since <"$1" && lives "$alive_pid" "$alive_since"; } 2>/dev/null
has_died() { read -r died_pid died_since <"$1" && ! lives "$died_pid" "$died_since"; } 2>/dev/null

# Whether whoever makes the change was ended in the middle of it: nobody will say that it is made.
was_cut_off() { [ -e "$guard/armed" ] && has_died "$guard/applying"; }

# The one process that is started while the host waits: every one that is needed later could be refused.
# It ends when there is something to look at, with 9 when no process can be started any more.
tick() {
tick_kept=0
up_seconds; tick_last=$((up + applying + seconds))
while [ -d "$guard" ]; do
if [ -e "$live/decided" ]; then
read -r tick_what <"$live/decided" || tick_what=
[ "$tick_what" != undo ] || return 0
# Whoever confirms needs two more steps; without them it has died on the way.
tick_kept=$((tick_kept + 1)); [ $tick_kept -lt 30 ] || return 0
else
! was_cut_off || return 0
read -r tick_until <"$guard/until" 2>/dev/null
case $tick_until in "" | *[!0-9]*) tick_until=$tick_last;; esac
up_seconds; [ "$up" -lt "$tick_until" ] && [ "$up" -lt "$tick_last" ] || return 0
fi
sleep 1 || return 9
done
}

# Wait until it is decided; ends the script where the change was confirmed.
await() {
while :; do
tick & wait $!
[ -d "$guard" ] || exit 0
[ ! -e "$guard/confirmed" ] || exit 0
decided=
[ ! -e "$live/decided" ] || read -r decided <"$live/decided"
case $decided in
undo) return;;
keep) echo undo >"$live/decided"; return;;
esac
! was_cut_off || occasion='cut'
# Only one of two makes this file.
set -C
if printf 'undo\n' 2>/dev/null >"$live/decided"; then set +C; return; fi
set +C
[ -d "$live" ] || return
done
}

mark_undoing() {
[ -e "$guard/undoing" ] || mv "$guard/changed" "$guard/undoing" || mv "$guard/armed" "$guard/undoing"
} 2>/dev/null

# What still changes this host, and what it left running, is ended before its work is undone.
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

# Whatever the change started has this in its environment, wherever it has gone since.
stop_left() {
# shellcheck disable=SC2013 # paths below /proc have no spaces
for stop_pid in $(grep -lsz "^LABRUN_CHANGE=$run\$" /proc/[0-9]*/environ); do
stop_pid=${stop_pid#/proc/}; kill -KILL "${stop_pid%/environ}"
done
} 2>/dev/null

# What the controller reads. It lies in memory too, where a full disk does not matter; on the disk it takes the
# room that was set aside for it.
write_record() {
record=$(printf '%s %s\n' "$run" "$occasion"; printf '%s\n' "$1" | head -n 20 | cut -c 1-300)
printf '%s\n' "$record" >/run/labrun-rolled-back
[ -e "$guard/record" ] || true >"$guard/record"
printf '%s\n' "$record" 1<>"$guard/record"
mv -f "$guard/record" /var/lib/labrun/rolled-back
} 2>/dev/null

finish() {
rm -f "$unit" "$link"
if [ -s "$guard/folders" ]; then
while IFS= read -r finish_folder; do rm -rf "$finish_folder/.labrun-kept"; done <"$guard/folders"
fi
if [ -s "$guard/roots" ]; then
while IFS= read -r finish_root; do rm -rf "$finish_root/.labrun-tree"; done <"$guard/roots"
fi
rm -rf "$live"
rm -rf "$guard"
}

# The last resort, once: what is on the disk is undone before the network starts.
start_anew() {
[ "$resort" = reboot ] && [ ! -e "$guard/rebooted" ] || return 0
true >"$guard/rebooted" || return 0
sync "$guard"
echo "labrun: $closed; this host starts anew"
timeout 20 systemctl --no-wall reboot || timeout 10 systemctl --force --no-wall reboot || reboot -f
sleep 120
}

undo() {
# Before anything else, and without another process.
kernel_own
kernel_make_room
tries=0
while :; do
mark_undoing
[ "$on" != live ] || stop_applying
attempt
[ -n "$failing" ] || break
[ "$on" = live ] || return
tries=$((tries + 1))
# Somebody waits for a word; the trying goes on. Where nobody gets in meanwhile, a restart may help.
if [ $tries -eq 3 ]; then
write_record "$(differences)
the host goes on trying"
closed=$(way_in)
[ -z "$closed" ] || start_anew
fi
sleep $((tries < 10 ? tries : 30))
done
differ=$(differences) closed=
if [ "$on" = live ]; then
for pause in 1 1 2 4; do
[ -n "$differ" ] || break
# What differs again and again is still being changed.
[ $pause -eq 1 ] || { stop_applying; stop_transient; }
sleep $pause; attempt; differ=$(differences)
done
# What comes and goes is not open either.
closed=$(still_open)
for pause in 1 2 4; do
[ -n "$closed" ] || break
sleep $pause; stop_applying; stop_transient; attempt; differ=$(differences); closed=$(still_open)
done
fi
if [ -n "$closed" ]; then
differ="$differ
$closed"
start_anew
fi
# What was enabled before, and is so again, has its place in this boot.
if [ "$on" = boot ] && [ -e "$guard/units" ]; then
timeout 20 systemctl daemon-reload
timeout 20 systemctl --no-block start default.target
fi
# Undone, but not yet on record: this too is tried until it is so.
until mv "$guard/undoing" "$guard/undone" 2>/dev/null || [ -e "$guard/undone" ] || [ ! -d "$guard" ]; do
mark_undoing; sleep 2
done
write_record "$differ"
until finish; do sleep 5; done
}

is_pending() { [ -e "$guard/armed" ] || [ -e "$guard/changed" ] || [ -e "$guard/undoing" ]; }

# Decide that the change goes back, unless it is decided already, and see to it that somebody does it.
demand() {
is_pending || { finish; return; }
[ -d "$live" ] || mkdir -p "$live" || return
set -C
if printf 'undo\n' 2>/dev/null >"$live/decided"; then echo "$1" >"$live/occasion"; fi
set +C
is_alive "$live/pid" || start_watch
}

main() {
cd / || exit
on=live occasion=timer failing=
case ${1-} in
now | again)
[ "${2-$run}" != "$run" ] || demand "$1"
exit;;
boot)
# systemd starts this once more when it reads its units anew; only a boot empties the memory.
[ ! -e "$live" ] || exit 0
mkdir -p "$live" || exit
is_pending || { finish; exit; }
on=boot occasion=boot
undo
if [ -d "$guard" ]; then
# What could not be put back before the network starts is put back later: the boot goes on.
echo undo >"$live/decided"; echo boot >"$live/occasion"; rm -f "$live"/done.*
start_watch
fi
exit;;
esac
# A signal is a failure, after which systemd starts this again, as long as there is something to guard. Nobody
# may be left who reads what is printed here.
trap '[ ! -d "$guard" ] || exit 7; exit 0' HUP INT TERM
trap '' PIPE
IFS=' ' read -r self_pid self_rest </proc/self/stat
# shellcheck disable=SC2086
set -- ${self_rest##*") "}
echo "$self_pid ${20}" >"$live/pid"
await
[ ! -e "$live/occasion" ] || read -r occasion <"$live/occasion"
undo
}

[ -n "${labrun_only-}" ] || { main "$@"; exit; }
