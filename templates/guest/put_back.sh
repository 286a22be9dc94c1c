# How a host rolls back: first the undo of each section, then whatever differs from the snapshot.
# Values: guard live on run wide sections; the functions undo_SECTION and kernel_own, and those of snapshot.sh and
# compare.sh, for a wide change also of trees.sh and outside.sh.

noted() {
while IFS= read -r noted_line; do
[ "$noted_line" != "$1" ] || return 0
done <"$guard/absent"
return 1
} 2>/dev/null

# Restore one file. Its copy is in the same folder, so this is a rename and needs no disk space.
restore() {
restore_kept=${1%/*}/.labrun-kept/${1##*/} restore_new=${1%/*}/.${1##*/}.labrun
# Of a change that was killed before it had put this in place.
[ ! -e "$restore_new" ] || rm -f "$restore_new"
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
if [ "$on" = live ]; then
[ -z "$wide" ] || { wake; put_back_mounts; }
put_back_nft
fi
for attempt_section in $sections; do
[ ! -e "$live/done.$attempt_section" ] || continue
attempt_said=$( exec 2>&1 </dev/null; set -e; "undo_$attempt_section" )
attempt_status=$?
# It may have run the command that hides them again.
[ "$on" != live ] || [ -z "$wide" ] || recover
[ "$on" != live ] || [ ! -e "$guard/mounts" ] || uncover
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
if [ -n "$wide" ]; then
put_back_packages
# Commands from the lab file have run again, on the restored files; what they left may be what cut labrun off.
[ "$on" != live ] || { stop_left; wake; put_back_mounts; }
put_back_hidden
put_back_files
put_back_networking
fi
kernel_put_back
[ "$on" = live ] || return 0
[ -z "$wide" ] || { put_back_label; put_back_udev; restart_rehearsed; reload_restored; put_back_units; }
put_back_nft
put_back_ip
[ -z "$wide" ] || { put_back_nm; put_back_networkd; }
}

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

# The manager of the NICs may still be at work: list the differences again until there are none twice in a row.
put_back_ip() {
[ -e "$guard/ip" ] || return 0
ip_round=0 ip_quiet=0
while [ $ip_round -lt 15 ] && [ $ip_quiet -lt 2 ]; do
list_ip
if [ -s "$live/todo" ]; then ip_quiet=0
# Give it a moment to finish by itself.
if [ $ip_round -ge 3 ] || ! systemctl is-active --quiet NetworkManager systemd-networkd; then
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
