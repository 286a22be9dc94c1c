# How a host rolls back: first the undo of each section, then whatever differs from the snapshot.
# Values: guard live on run sections; the functions undo_SECTION and kernel_own, and those of snapshot.sh, outside.sh and trees.sh.

noted() {
while IFS= read -r noted_line; do
[ "$noted_line" != "$1" ] || return 0
done <"$guard/absent"
return 1
} 2>/dev/null

# Restore one file. Its copy is in the same folder, so this is a rename and needs no disk space.
restore() {
restore_kept=${1%/*}/.labrun-kept/${1##*/}
if [ -e "$restore_kept" ] || [ -L "$restore_kept" ]; then
# Without -T a symlink to a folder would be followed. A file that cannot be replaced may be unchanged.
mv -fT "$restore_kept" "$1" || cmp -s "$restore_kept" "$1"
elif noted "$1"; then rm -f "$1"
fi
}

roll_back() {
[ -s "$guard/checkpoint" ] || return 0
read -r roll_point <"$guard/checkpoint"
busctl --auto-start=no call org.freedesktop.NetworkManager /org/freedesktop/NetworkManager \
org.freedesktop.NetworkManager CheckpointRollback o "$roll_point" || :
}

# Try once to restore everything that still differs; $failing gets one line per failure.
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
# Commands from the lab file have run again, on the restored files; what they left may be what cut labrun off.
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

# The files are restored; an sshd that had read others needs a reload.
reload_sshd() {
[ -s "$guard/roots" ] && [ ! -e "$live/done-sshd" ] && sshd -t || return 0
reload_pid='' reload_title=''
# The file has no final newline, which `read` reports as a failure.
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
fi
units_round=$((units_round + 1)); sleep 0.3
done
} 2>/dev/null

put_back_nft() {
[ -e "$guard/nft" ] || return 0
nft_state >"$live/nft" && nft_difference "$guard/nft" "$live/nft" >"$live/todo"
[ -s "$live/todo" ] && ! nft -f "$live/todo" || return 0
# A table in xtables compat format cannot be loaded again: it must not keep the others from being restored.
sed -n 's/^table \([^{]*\) {.*/\1/p' "$guard/nft" "$live/nft" | sort -u >"$live/tables"
while IFS= read -r nft_table; do
nft_difference "$guard/nft" "$live/nft" "$nft_table" >"$live/todo"
[ ! -s "$live/todo" ] || nft -f "$live/todo"
done <"$live/tables"
} 2>/dev/null

list_ip() {
net_state >"$live/ip" && ip_difference "$guard/ip" "$live/ip" >"$live/todo"
}

# NetworkManager may still be at work: list the differences again until there are none twice in a row.
put_back_ip() {
[ -e "$guard/ip" ] || return 0
ip_round=0 ip_quiet=0
while [ $ip_round -lt 15 ] && [ $ip_quiet -lt 2 ]; do
list_ip
if [ -s "$live/todo" ]; then ip_quiet=0
# Give it a moment to finish by itself.
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

# Restore the active profile of each device, then check addresses and routes once more.
put_back_nm() {
[ -s "$guard/nm" ] && nm_state >"$live/nm" && ! cmp -s "$guard/nm" "$live/nm" || return 0
timeout 20 nmcli connection reload
while IFS=: read -r nm_uuid nm_device; do
grep -Fxq "$nm_uuid:$nm_device" "$live/nm" || timeout 20 nmcli --wait 15 connection up uuid "$nm_uuid" ifname "$nm_device"
done <"$guard/nm"
# It may hold on to a configuration that no longer exists.
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
