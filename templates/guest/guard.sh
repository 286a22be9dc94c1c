# labrun's guard: takes back what one run changed on this host, unless that run confirms it.
# What stands before this are its values and the functions undo_SECTION and kernel_own.
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
tick_kept=$((tick_kept + 1)); [ $tick_kept -lt 150 ] || return 0
else
! was_cut_off || return 0
read -r tick_until <"$guard/until" 2>/dev/null
case $tick_until in "" | *[!0-9]*) tick_until=$tick_last;; esac
up_seconds; [ "$up" -lt "$tick_until" ] && [ "$up" -lt "$tick_last" ] || return 0
fi
sleep 0.2 || return 9
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

noted() {
while IFS= read -r noted_line; do
[ "$noted_line" != "$1" ] || return 0
done <"$guard/absent"
return 1
} 2>/dev/null

# Put one file back. Its copy lies in the folder where it is needed, so this is a rename and takes no room.
restore() {
restore_kept=${1%/*}/.labrun-kept/${1##*/}
if [ -e "$restore_kept" ] || [ -L "$restore_kept" ]; then
# Without -T a link to a folder would be followed. What cannot be replaced may never have been.
mv -fT "$restore_kept" "$1" || cmp -s "$restore_kept" "$1"
elif noted "$1"; then rm -f "$1"
fi
}

roll_back() {
[ -s "$guard/checkpoint" ] || return 0
read -r roll_kind roll_point <"$guard/checkpoint"
roll_point=${roll_point#?}
busctl --auto-start=no call org.freedesktop.NetworkManager /org/freedesktop/NetworkManager \
org.freedesktop.NetworkManager CheckpointRollback o "${roll_point%?}" || :
}

# One attempt at everything that is not yet as it was; $failing has what did not succeed, a line each.
attempt() {
failing=
kernel_own
kernel_put_back
[ "$on" != live ] || { wake; put_back_mounts; }
[ "$on" != live ] || put_back_nft
for attempt_section in $sections; do
[ ! -e "$live/done.$attempt_section" ] || continue
attempt_said=$( exec 2>&1 </dev/null; set -e; "undo_$attempt_section" )
attempt_status=$?
printf '%s\n' "$attempt_said"
if [ $attempt_status -eq 0 ]; then true >"$live/done.$attempt_section"
else
attempt_last=
while IFS= read -r attempt_line; do [ -z "$attempt_line" ] || attempt_last=$attempt_line; done <<END
$attempt_said
END
failing="$failing$attempt_section: ${attempt_last:-exit status $attempt_status}
"
fi
done
put_back_packages
# Commands of the lab file have run once more, on the files as they were; what they left may be what cut the way in.
[ "$on" != live ] || { stop_left; wake; put_back_mounts; }
put_back_files
put_back_networking
kernel_put_back
[ "$on" != live ] || reload_sshd
[ "$on" != live ] || { put_back_units; put_back_nft; put_back_ip; put_back_nm; }
}

put_back_files() {
[ -s "$guard/roots" ] || return 0
systemd_before=$(cat /etc/systemd/system/*.wants/* /etc/systemd/system/*.service 2>/dev/null | cksum)
files_number=0
while IFS= read -r files_root; do
files_number=$((files_number + 1))
files_said=$( tree_put_back "$files_root" $files_number 2>&1 ) || failing="${failing}files: ${files_said:-$files_root}
"
done <"$guard/roots"
while read -r modes_mode modes_owner modes_path; do
[ "$(stat -c '%a %u:%g' "$modes_path" 2>/dev/null)" = "$modes_mode $modes_owner" ] ||
{ chown "$modes_owner" "$modes_path" && chmod "$modes_mode" "$modes_path"; }
done <"$guard/modes"
[ "$on" = live ] || return 0
if [ "$systemd_before" != "$(cat /etc/systemd/system/*.wants/* /etc/systemd/system/*.service 2>/dev/null | cksum)" ] ||
[ -e "$guard/units" ]; then timeout 30 systemctl daemon-reload; fi
}

# The files are as they were; what sshd made of others goes with the next reading.
reload_sshd() {
[ -s "$guard/roots" ] && [ ! -e "$live/done-sshd" ] && sshd -t || return 0
reload_pid='' reload_title=''
# There is no newline at its end, which `read` takes for a failure.
{ read -r reload_pid </run/sshd.pid && IFS= read -r reload_title <"/proc/$reload_pid/cmdline"; } || :
case $reload_title in "sshd: "*" [listener]"*) kill -HUP "$reload_pid" && true >"$live/done-sshd";; esac
} 2>/dev/null

put_back_units() {
[ -e "$guard/units" ] || return 0
units_round=0
while [ $units_round -lt 20 ]; do
unit_state >"$live/units" 2>/dev/null || return 0
unit_difference "$guard/units" "$live/units" >"$live/todo"
[ -s "$live/todo" ] || return 0
if [ $units_round -eq 0 ] || [ $units_round -eq 10 ]; then
set --
while read -r units_do units_name; do
if [ "$units_do" = start ]; then set -- "$@" "$units_name"; else units_stop="${units_stop-} $units_name"; fi
done <"$live/todo"
# An sshd that systemd has lost sight of still has the port; sessions are processes of their own.
case " $* " in
*" ssh.service "* | *" sshd.service "*) [ ! -e /run/sshd.pid ] || { read -r units_pid </run/sshd.pid; kill "$units_pid"; };;
esac
[ $# -eq 0 ] || { timeout 10 systemctl reset-failed "$@"; timeout 20 systemctl --no-block start "$@"; }
# What is fixed in its place or made for the moment was started by something else.
for units_name in ${units_stop-}; do
case $(systemctl show --property=UnitFileState --value "$units_name") in
enabled | disabled | masked | linked) timeout 20 systemctl --no-block stop "$units_name";;
esac
done
units_stop=
fi
units_round=$((units_round + 1)); sleep 0.3
done
} 2>/dev/null

put_back_nft() {
[ -e "$guard/nft" ] || return 0
nft_state >"$live/nft" && nft_difference "$guard/nft" "$live/nft" >"$live/todo"
[ -s "$live/todo" ] && ! nft -f "$live/todo" || return 0
# What xtables alone understands cannot be read again: such a table keeps no other from going back.
sed -n 's/^table \([^{]*\) {.*/\1/p' "$guard/nft" "$live/nft" | sort -u >"$live/tables"
while IFS= read -r nft_table; do
nft_difference "$guard/nft" "$live/nft" "$nft_table" >"$live/todo"
[ ! -s "$live/todo" ] || nft -f "$live/todo"
done <"$live/tables"
} 2>/dev/null

# NetworkManager may still be at work: what is to be done is looked up anew until twice nothing is left.
put_back_ip() {
[ -e "$guard/ip" ] || return 0
ip_round=0 ip_quiet=0
while [ $ip_round -lt 15 ] && [ $ip_quiet -lt 2 ]; do
list_ip
if [ -s "$live/todo" ]; then ip_quiet=0
# It gets a moment to do by itself what it is about to do.
if [ $ip_round -ge 3 ] || ! systemctl is-active --quiet NetworkManager; then
set -f
while read -r ip_family ip_words; do
# shellcheck disable=SC2086
case $ip_family in tc) tc $ip_words;; *) ip "-$ip_family" $ip_words;; esac
done <"$live/todo"
set +f
fi
else ip_quiet=$((ip_quiet + 1))
fi
ip_round=$((ip_round + 1)); sleep 0.2
done
} 2>/dev/null

# What is active on which device; addresses and routes are looked at once more after it.
put_back_nm() {
[ -s "$guard/nm" ] && nm_state >"$live/nm" && ! cmp -s "$guard/nm" "$live/nm" || return 0
timeout 20 nmcli connection reload
while IFS=: read -r nm_uuid nm_device; do
grep -Fxq "$nm_uuid:$nm_device" "$live/nm" || timeout 20 nmcli --wait 15 connection up uuid "$nm_uuid" ifname "$nm_device"
done <"$guard/nm"
# It may hold on to a configuration that is no more.
nm_state >"$live/nm"
if ! cmp -s "$guard/nm" "$live/nm" && [ ! -e "$live/done-nm" ]; then
true >"$live/done-nm"
timeout 30 systemctl restart NetworkManager
nm_round=0
while [ $nm_round -lt 30 ] && nm_state >"$live/nm" && ! cmp -s "$guard/nm" "$live/nm"; do
nm_round=$((nm_round + 1)); sleep 0.2
done
fi
put_back_ip
} >/dev/null 2>&1

list_ip() {
{ ip_state; [ ! -e "$guard/has-rules" ] || rule_state; } >"$live/ip" && ip_difference "$guard/ip" "$live/ip" >"$live/todo"
}

# Prints what is not as before, a line each.
differences() {
printf '%s' "$failing"
if [ "$on" = live ]; then
if [ -e "$guard/ip" ]; then
list_ip
while read -r differ_family differ_words; do
case "$differ_family $differ_words" in
tc*) echo "missing: tc $differ_words";;
*" route append "*) echo "missing: ip route add ${differ_words#route append }";;
*) echo "missing: ip $differ_words";;
esac
done <"$live/todo"
fi
if [ -s "$guard/nm" ] && nm_state >"$live/nm"; then
while IFS= read -r differ_line; do
grep -Fxq "$differ_line" "$live/nm" || echo "profile ${differ_line%%:*} is not active on ${differ_line#*:}"
done <"$guard/nm"
fi
if [ -e "$guard/nft" ]; then
nft_state >"$live/nft"; nft_difference "$guard/nft" "$live/nft" >"$live/todo"
[ ! -s "$live/todo" ] || echo "another nftables ruleset"
fi
if [ -e "$guard/units" ]; then
unit_state >"$live/units" && unit_difference "$guard/units" "$live/units" >"$live/todo" && while read -r differ_do differ_unit; do
[ "$differ_do" != start ] || echo "$differ_unit does not run"
[ "$differ_do" != stop ] || case $(systemctl show --property=UnitFileState --value "$differ_unit") in
enabled | disabled | masked | linked) echo "$differ_unit runs";;
esac
done <"$live/todo"
fi
if [ -e "$guard/packages" ] && list_packages; then
while read -r differ_do differ_package; do
case $differ_do in
purge) echo "package ${differ_package%:*} cannot be taken out";;
gone) echo "package ${differ_package%:*} was there and is not";;
replaced) echo "package ${differ_package%:*} is another version";;
esac
done <"$live/todo"
fi
if [ -e "$guard/kernel" ]; then
kernel_now >"$live/kernel"
kernel_difference "$guard/kernel" "$live/kernel" | while IFS= read -r differ_line; do
echo "${differ_line%%:*} was ${differ_line#*:} and is not"
done
fi
fi 2>/dev/null
[ -s "$guard/roots" ] || return 0
differ_number=0
while IFS= read -r differ_root; do
differ_number=$((differ_number + 1))
(cd "$differ_root" && tree_list >"$live/tree" && tree_difference "$guard/tree$differ_number" "$live/tree" sure) 2>/dev/null |
while IFS= read -r differ_line; do echo "$differ_root/${differ_line#* ./} is not as before"; done
done <"$guard/roots"
}

# Prints who listens where labrun came in; sshd on another address of this host is no way in.
way_listeners() {
ss -Hltn "sport = :$way_port" 2>/dev/null | while read -r way_state way_queue way_most way_local way_rest; do
way_local=${way_local%:*}
case "${way_local%%%*} ${way_server%%%*}" in
"* "* | "0.0.0.0 "*.* | "[::] "*:*) echo any;;
*) [ "${way_local%%%*}" != "${way_server%%%*}" ] && [ "${way_local%%%*}" != "[${way_server%%%*}]" ] || echo own;;
esac
done
}

# Whether labrun could come in as it did: its address, a way back, sshd listening and willing. Says why not.
way_in() {
[ -s "$guard/way" ] || return 0
read -r way_client way_cport way_server way_port <"$guard/way"
[ -n "$way_port" ] || return 0
case $(ip -o address show up to "${way_server%%%*}" 2>/dev/null) in
"") echo "no link that is up has $way_server"; return 1;;
esac
case $way_client in
*%*) ;;
*) ip route get "$way_client" from "$way_server" >/dev/null 2>&1 || { echo "there is no route to $way_client"; return 1; };;
esac
if command -v ss >/dev/null && [ -z "$(way_listeners)" ]; then
echo "nothing listens on ${way_server%%%*} port $way_port"; return 1
fi
[ -d /run/sshd ] || mkdir -p /run/sshd
way_said=$(sshd -t 2>&1) || { echo "sshd does not accept its configuration: $way_said"; return 1; }
if [ -e /run/nologin ] || [ -e /etc/nologin ]; then echo "logins are refused by a file nologin"; return 1; fi
}

# The same, a while long where commands have run, and longer where something is not as it was.
still_open() {
open_looks=0 open_most=1
[ ! -s "$guard/roots" ] || open_most=4
[ -z "$differ" ] || open_most=12
while way_in; do
open_looks=$((open_looks + 1))
[ $open_looks -lt $open_most ] || return 0
sleep 0.3
done
}

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
