# What outside_units.sh does with units, for services of OpenRC. Redefines: unit_state stop_transient
# restart_rehearsed put_back_units. Values: guard live on. Needs openrc_sshd.
if [ ! -d /run/systemd/system ] && [ -d /etc/runlevels ]; then
# The listing that unit_difference reads. A service whose process has died still counts as started there.
unit_state() {
for unit_each in /run/openrc/started/*; do
[ ! -e "$unit_each" ] || printf '%s loaded active\n' "${unit_each##*/}"
done
# A script that is not OpenRC's own leaves no mark when it is started again.
[ -s "$guard/units" ] || return 0
while read -r unit_each unit_rest; do
[ ! -e "/run/openrc/started/$unit_each" ] && timeout 10 rc-service --quiet "$unit_each" status </dev/null >/dev/null 2>&1 &&
printf '%s loaded active\n' "$unit_each"
done <"$guard/units"
true
}
is_to_run() { [ -e "/run/openrc/started/$1" ] || grep -q "^$1 " "$guard/units"; }
stop_transient() { :; }
restart_rehearsed() {
[ -s "$guard/rehearsed" ] && [ ! -e "$live/done-rehearsed" ] || return 0
true >"$live/done-rehearsed"
while read -r rehearsed_unit; do openrc_sshd "$rehearsed_unit"; done <"$guard/rehearsed"
} 2>/dev/null
put_back_units() {
[ -e "$guard/units" ] || return 0
unit_state >"$live/units"
unit_difference "$guard/units" "$live/units" >"$live/todo"
while read -r units_do units_name; do timeout 60 rc-service --quiet "$units_name" "$units_do"; done <"$live/todo"
# An sshd that was killed.
for units_name in ssh sshd; do
if is_to_run "$units_name" && ! timeout 20 rc-service --quiet "$units_name" status; then
rc-service --quiet "$units_name" zap; timeout 60 rc-service --quiet "$units_name" start
fi
done
} >/dev/null 2>&1 </dev/null
fi
