# What a wide change may leave that no unit, no file of /etc and no listing of addresses shows: units and settings below
# /run, files that a login shell reads, filters beside nftables, devices in another namespace, an sshd without resources.
# Sourced after outside.sh, only if the change is wide.

hidden_folders="/run/systemd/system /run/systemd/system.control /run/NetworkManager/conf.d /run/systemd/network"
hidden_files=".bashrc .bash_profile .bash_login .profile .zshenv .zprofile .zshrc .kshrc .cshrc .tcshrc .login .pam_environment"
hidden_units="ssh.service sshd.service NetworkManager.service systemd-networkd.service dbus.service dbus-broker.service systemd-logind.service system.slice user.slice"

hook_state() { tc qdisc show 2>/dev/null | grep -E '^qdisc (ingress|clsact) ' || :; }
xfrm_state() { ip xfrm policy 2>/dev/null || :; }
limits_state() {
limits_pid=
read -r limits_pid </run/sshd.pid || :
[ -z "$limits_pid" ] || cat "/proc/$limits_pid/limits" || :
} 2>/dev/null

# What control groups of a login's services hold them to, whoever wrote it there: `FILE:VALUE` lines.
control_state() {
control_names=$(echo "$hidden_units" | sed 's/[.]/\\&/g; s/ /|/g')
find /sys/fs/cgroup -maxdepth 4 -regextype posix-extended -regex ".*/($control_names)/(cgroup\.freeze|freezer\.state|pids\.max|memory\.(max|high|limit_in_bytes)|cpu\.max)" \
-exec grep -Hsm1 '' {} + 2>/dev/null | LC_ALL=C sort
}

# Save all of it. $1 is the home of the login.
hidden_state() {
mkdir "$guard/hidden" "$guard/login"
hidden_number=0
for hidden_each in $hidden_folders; do
hidden_number=$((hidden_number + 1))
[ ! -d "$hidden_each" ] || cp -a "$hidden_each" "$guard/hidden/$hidden_number"
done
printf '%s\n' "$1" >"$guard/home"
for hidden_each in $hidden_files; do
[ ! -f "$1/$hidden_each" ] || cp -a "$1/$hidden_each" "$guard/login/"
done
hook_state >"$guard/hooks"
xfrm_state >"$guard/xfrm"
limits_state >"$guard/limits"
control_state >"$guard/control"
}

# Print the names of the login's files that are not as before.
login_difference() {
[ -s "$guard/home" ] || return 0
read -r login_home <"$guard/home"
for login_each in $hidden_files; do
if [ -e "$guard/login/$login_each" ]; then
cmp -s "$guard/login/$login_each" "$login_home/$login_each" || printf '%s\n' "$login_each"
elif [ -e "$login_home/$login_each" ] || [ -L "$login_home/$login_each" ]; then printf '%s\n' "$login_each"
fi
done
}

# Before units and profiles are restored: what would keep them from it. systemd reads its files again afterwards.
put_back_hidden() {
login_difference >"$live/login"
while IFS= read -r hidden_name; do
chattr -ia "$login_home" "$login_home/$hidden_name"
rm -rf "${login_home:?}/$hidden_name"
[ ! -e "$guard/login/$hidden_name" ] || cp -a "$guard/login/$hidden_name" "$login_home/"
done <"$live/login"
[ "$on" = live ] && [ -d "$guard/hidden" ] || return 0
hidden_number=0
for hidden_each in $hidden_folders; do
hidden_number=$((hidden_number + 1))
if [ ! -d "$guard/hidden/$hidden_number" ]; then rm -rf "$hidden_each"
elif ! diff -rq --no-dereference "$guard/hidden/$hidden_number" "$hidden_each"; then
rm -rf "$hidden_each"; cp -a "$guard/hidden/$hidden_number" "$hidden_each"
fi
done
put_back_hooks
put_back_devices
put_back_resources
} >/dev/null 2>&1

# Hooks for filters of packets, and IPsec policies. Rules within those that were there are not compared.
put_back_hooks() {
hook_state >"$live/hooks"
while read -r hook_word hook_kind hook_handle hook_dev hook_device hook_rest; do
grep -q "^$hook_word $hook_kind $hook_handle $hook_dev $hook_device " "$guard/hooks" || tc qdisc del dev "$hook_device" "$hook_kind"
done <"$live/hooks"
xfrm_state >"$live/xfrm"
[ -s "$guard/xfrm" ] || [ ! -s "$live/xfrm" ] || ip xfrm policy flush
}

# A device that is gone may be in another namespace.
put_back_devices() {
put_back_drivers
while read -r device_number device_name device_flags; do
device_name=${device_name%:} device_name=${device_name%%@*}
case $device_flags in "<"*) ;; *) continue;; esac
! ip link show dev "$device_name" || continue
for device_space in /run/netns/*; do
[ ! -e "$device_space" ] || ! ip -n "${device_space##*/}" link set dev "$device_name" netns $$ || break
done
done <"$guard/ip"
}

# Units that are frozen, and an sshd whose limits are others: these outlast a reload.
put_back_resources() {
for resource_unit in $hidden_units; do
[ "$(systemctl show --property=FreezerState --value "$resource_unit")" != frozen ] || timeout 20 systemctl thaw "$resource_unit"
done
control_state >"$live/control"
LC_ALL=C comm -23 "$guard/control" "$live/control" | while IFS=: read -r control_file control_value; do
[ ! -w "$control_file" ] || printf '%s\n' "$control_value" >"$control_file"
done
[ -s "$guard/limits" ] && [ ! -e "$live/done-limits" ] && limits_state >"$live/limits" && [ -s "$live/limits" ] || return 0
cmp -s "$guard/limits" "$live/limits" && return
true >"$live/done-limits"
for resource_unit in ssh.service sshd.service; do
! systemctl is-active --quiet "$resource_unit" || timeout 20 systemctl restart "$resource_unit"
done
}

# Print what differs from before, one line each.
differences_hidden() {
login_difference | while IFS= read -r differ_name; do echo "$login_home/$differ_name is not as before"; done
[ "$on" = live ] && [ -e "$guard/xfrm" ] || return 0
[ -s "$guard/xfrm" ] || [ -z "$(xfrm_state)" ] || echo "IPsec policies that were not there"
} 2>/dev/null
