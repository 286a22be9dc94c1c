# Units: which of them run, what leads back to that, and what a change has started beside them.
# Sourced after outside.sh. $guard is the guard's directory, $live the one in memory.

unit_state() {
systemctl list-units --all --plain --no-legend --no-pager --full \
--type=service,socket,timer,path,mount,automount,swap,target
}

# Print `start UNIT` and `stop UNIT` for what leads from the second listing to the first. Units that systemd
# starts on demand, and transient ones, do not count.
unit_difference() {
awk '
{ active = $3 == "active" || $3 == "reloading" }
FILENAME == ARGV[1] { if (active) old[$1] = 1; next }
active { now[$1] = 1 }
active && !($1 in old) { print "stop " $1 }
END { for (unit in old) if (!(unit in now)) print "start " unit }
' "$1" "$2" | grep -vE '^(start|stop) (labrun-guard|run-|user@|user-runtime-dir@|session|init\.scope|dev-|sys-|proc-|-\.|system-|systemd-(hostnamed|timedated|localed|machined|logind-|tmpfiles-clean|ask-password|fsck|rfkill|backlight|coredump)|NetworkManager-(dispatcher|wait)|polkit|packagekit|apt-|dpkg-|man-db|e2scrub|fstrim|logrotate|motd-|cloud-|emergency|rescue|shutdown|umount|final|getty-pre|network-pre|nss-|remote-fs-pre|time-)' |
grep -vE '^start [^ ]*\.(mount|swap)$' || :
}

# Transient units of systemd carry no mark of the change: they are recognised by being new.
stop_transient() {
[ -e "$guard/units" ] && unit_state >"$live/units" || return 0
awk 'FILENAME == ARGV[1] { old[$1] = 1; next } !($1 in old) && $1 !~ /^labrun-guard/ { print $1 }' "$guard/units" "$live/units" |
while IFS= read -r stop_unit; do
[ "$(systemctl show --property=UnitFileState --value "$stop_unit")" != transient ] || timeout 10 systemctl stop "$stop_unit"
done
} 2>/dev/null

# List what leads back, without what would not start before the change either.
list_units() {
unit_state >"$live/units" || return
unit_difference "$guard/units" "$live/units" >"$live/units-todo"
while read -r list_do list_unit; do
[ "$list_do" = start ] && is_held_back "$list_unit" || printf '%s %s\n' "$list_do" "$list_unit"
done <"$live/units-todo" >"$live/todo"
} 2>/dev/null

# Tell whether a unit stays down because of a condition that no change has made: it ran under another one, such as the
# first boot. Paths outside what is restored may be the work of the change.
is_held_back() {
[ "$(systemctl show --property=ConditionResult --value "$1")" = no ] || return
# systemd-analyze prints one line per condition that does not hold.
systemd-analyze condition --unit="$1" 2>&1 | awk '
!/: Condition[A-Za-z]*=.* failed\.$/ { next }
{ failed = 1; sub(/^[^=]*=[|!]*/, "") }
/^\// && !/^\/(etc|proc|sys)\// { other = 1 }
END { exit !failed || other }'
}

# A socket is refused while its service runs. In one transaction the service goes down first and comes up last, and
# the rest of its sockets cannot start it in between.
put_back_sockets() {
while read -r sockets_do sockets_name; do
case "$sockets_do $sockets_name" in
start\ *.socket)
sockets_service=$(systemctl show --property=Triggers --value "$sockets_name")
! systemctl is-active --quiet "$sockets_service" || printf '%s %s\n' "$sockets_service" "$sockets_name";;
esac
done <"$live/todo" | awk '{ of[$1] = of[$1] " " $2 } END { for (service in of) print service of[service] }' >"$live/sockets"
while read -r sockets_service sockets_names; do
# shellcheck disable=SC2086 # several words
{ timeout 10 systemctl reset-failed $sockets_names; timeout 20 systemctl restart "$sockets_service" $sockets_names; }
# It was not needed before.
awk -v unit="$sockets_service" '$1 == unit && $3 == "active" { ran = 1 } END { exit !ran }' "$guard/units" ||
timeout 20 systemctl stop "$sockets_service"
done <"$live/sockets"
}

put_back_units() {
[ -e "$guard/units" ] || return 0
units_round=0
while [ $units_round -lt 20 ]; do
list_units || return 0
[ -s "$live/todo" ] || return 0
if [ $units_round -eq 0 ] || [ $units_round -eq 10 ]; then
set --
while read -r units_do units_name; do
if [ "$units_do" = start ]; then set -- "$@" "$units_name"; else units_stop="${units_stop-} $units_name"; fi
done <"$live/todo"
# An sshd that systemd has lost track of still holds the port; sessions are separate processes.
case " $* " in
*" ssh.service "* | *" sshd.service "*) [ ! -e /run/sshd.pid ] || { read -r units_pid </run/sshd.pid; kill "$units_pid"; };;
esac
[ $# -eq 0 ] || { timeout 10 systemctl reset-failed "$@"; timeout 20 systemctl --no-block start "$@"; }
# Static and transient units were started by something else.
for units_name in ${units_stop-}; do
case $(systemctl show --property=UnitFileState --value "$units_name") in
enabled | disabled | masked | linked) timeout 20 systemctl --no-block stop "$units_name";;
esac
done
units_stop=
elif [ $units_round -eq 3 ] || [ $units_round -eq 13 ]; then put_back_sockets
fi
units_round=$((units_round + 1)); sleep 0.3
done
} 2>/dev/null
