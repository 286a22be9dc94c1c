# What outside_units.sh does with units, for services of OpenRC. Redefines: unit_state stop_transient put_back_units.
# Values: guard live on.
if [ ! -d /run/systemd/system ] && [ -d /etc/runlevels ]; then
# The listing that unit_difference reads. A service whose process has died still counts as started there.
unit_state() {
for unit_each in /run/openrc/started/*; do
[ ! -e "$unit_each" ] || printf '%s loaded active\n' "${unit_each##*/}"
done
}
stop_transient() { :; }
put_back_units() {
[ -e "$guard/units" ] || return 0
unit_state >"$live/units"
unit_difference "$guard/units" "$live/units" >"$live/todo"
while read -r units_do units_name; do timeout 60 rc-service --quiet "$units_name" "$units_do"; done <"$live/todo"
# An sshd that was killed.
for units_name in ssh sshd; do
if [ -e "/run/openrc/started/$units_name" ] && ! timeout 20 rc-service --quiet "$units_name" status; then
rc-service --quiet "$units_name" zap; timeout 60 rc-service --quiet "$units_name" start
fi
done
} >/dev/null 2>&1 </dev/null
fi
