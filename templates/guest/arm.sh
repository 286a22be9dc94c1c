# Prepare the host for a rollback: everything it needs is in place before anything is changed.
# Values: run owner process seconds applying user wide spread nft checkpoint guard live unit link
# state_text undo_text unit_text init_text; keep_all calls its argument per folder, with the folder and the names of files to save.
umask 077
new=$guard.$run newline='
'
[ ! -e "$guard/owner" ] || exit 3
[ ! -e "$new" ] || rm -rf "$new"
# A copy in the folder of each file: restoring it is a rename, which needs no disk space. One process creates
# all folders.
absent='' folders=''
note_files() {
keep_folder=$1 keep_any=''; shift
for keep_name; do
if [ -e "$keep_folder/$keep_name" ] || [ -L "$keep_folder/$keep_name" ]; then keep_any=yes
else absent=$absent$keep_folder/$keep_name$newline
fi
done
[ -z "$keep_any" ] || folders=$folders$keep_folder$newline
}
keep_all note_files
set -f; IFS=$newline
# shellcheck disable=SC2086 # one word per folder
set -- $folders
unset IFS; set +f
for folder; do shift; set -- "$@" "$folder/.labrun-kept"; done
mkdir -p "$new" "$live" "${link%/*}" "$@" || { rmdir "$live" "$@" 2>/dev/null; exit 1; }
read -r up up_rest </proc/uptime; up=${up%.*}
read -r boot </proc/sys/kernel/random/boot_id
begin() {
printf '%s\n' "$run" "$owner" "$boot" "$process" >"$new/owner" &&
echo $((up + applying + seconds)) >"$new/until" &&
printf '%s %s\n' "${self%% *}" "$self_start" >"$new/applying" &&
printf '%s' "$state_text" "$undo_text" >"$new/undo" &&
# Space reserved for the record.
printf '%1024s\n' '' >"$new/record" || return
[ -z "$absent" ] || printf '%s' "$absent" >"$new/absent" || return
[ -z "$folders" ] || printf '%s' "$folders" >"$new/folders"
}
if ! begin; then
rmdir "$live" "$@" 2>/dev/null
exit 1
fi
# Renaming a complete folder takes the lock.
if ! mv -T "$new" "$guard" 2>/dev/null; then
[ ! -d "$guard" ] || exit 3
rmdir "$live" "$@" 2>/dev/null
echo "$guard cannot be made"; exit 1
fi
# Another guard, of a run that died, may have left something here.
for each in "$live"/*; do
[ ! -e "$each" ] || { rm -rf "$live"; mkdir "$live"; break; }
done
# A file system in memory that fills up after this must not keep the host from rolling back: names of files and bytes
# that the rollback frees first. Without a further process, since each counts, unless the change is wide: then it is
# a quarter of what is free at most, because the snapshot and services want room there too.
keep_room() {
room=12 room_bytes=65536
if [ -n "$wide" ]; then
# shellcheck disable=SC2046 # three numbers
set -- $(stat -f -c '%a %S %d' "$live")
room_bytes=$((${1:-0} * ${2:-0} / 4)) room=$((${3:-0} / 4))
[ "$room_bytes" -lt 2065536 ] || room_bytes=2065536
[ "$room" -lt 60 ] || room=60
fi
while [ "$room" -gt 0 ]; do true >"$live/room.$room" || return; room=$((room - 1)); done
printf "%${room_bytes}s" '' >"$live/room.bytes"
}
# What does not fit is not kept, rather than to leave no room at all.
keep_room 2>/dev/null || rm -f "$live"/room.*
eval "$state_text"
copy_files() {
keep_folder=$1; shift
for keep_name; do
shift
if [ -e "$keep_folder/$keep_name" ] || [ -L "$keep_folder/$keep_name" ]; then set -- "$@" "$keep_folder/$keep_name"; fi
done
[ $# -eq 0 ] || cp -a "$@" "$keep_folder/.labrun-kept/"
}
keep_all copy_files
net_state >"$guard/ip"
[ -z "$nft" ] || ! command -v nft >/dev/null || nft_state >"$guard/nft"
# shellcheck disable=SC2086 # they are words
if [ -n "$spread" ] && [ -z "$wide" ]; then printf '%s\n' $spread >"$guard/spread"; kernel_now >"$guard/kernel"; fi
# sudo hides it from its child. `read` drops the NULs between variables, so another may follow the last word.
came=${SSH_CONNECTION-}
[ -n "$came" ] || while IFS= read -r came_line || [ -n "$came_line" ]; do
case $came_line in *SSH_CONNECTION=*) came=${came_line#*SSH_CONNECTION=}; break;; esac
done 2>/dev/null <"/proc/$PPID/environ" || :
set -f
# shellcheck disable=SC2086 # two addresses, each with its port
set -- $came
set +f
echo "${1-} ${2-} ${3-} ${4%%[!0-9]*}" >"$guard/way"
if [ -n "$wide" ] && [ -n "${3-}" ] && way_greets "${3%%%*}" "${4%%[!0-9]*}"; then : >"$guard/greets"; fi
if [ -n "$wide" ]; then
kernel_now >"$guard/kernel"
unit_state >"$guard/units"
vital_state >"$guard/vital"
needs_state >"$guard/needs"
nm_state >"$guard/nm"
package_state "$guard/packages"
mount_state >"$guard/mounts"
run_size >"$guard/run-size"
writable_state >"$guard/writable"
chain_state >"$guard/chain"
driver_state >"$guard/drivers"
root_links >"$guard/root-links"
[ ! -e /run/nologin ] || : >"$guard/nologin"
[ ! -S /run/dbus/system_bus_socket ] || : >"$guard/bus"
# Not every container may make devices, so a second name keeps this one.
[ ! -c /dev/null ] || ln -f /dev/null /dev/.labrun-null 2>/dev/null || :
[ ! -e /var/lib/NetworkManager/NetworkManager.state ] || cp -a /var/lib/NetworkManager/NetworkManager.state "$guard/networking"
home=$(getent passwd "$user" | cut -d : -f 6)
hidden_state "$home"
number=0
boot_root=
# Where /boot is read-only or full it stays as it is.
! has_own_boot || ! mkdir -p /boot/.labrun-tree 2>/dev/null || boot_root=/boot
for root in /etc /root/.ssh "$home/.ssh" $boot_root; do
if [ ! -d "$root" ] || grep -Fxqs "$root" "$guard/roots"; then continue; fi
number=$((number + 1))
echo "$root" >>"$guard/roots"
# A change that deletes or alters such a folder does the same to the copies in it.
if [ "$root" = /boot ]; then :
elif [ "$root" != /etc ]; then cp -a "$root" "$guard/spare$number"
else
# Of /etc only what a login needs.
mkdir "$guard/spare$number"
for entry in ssh NetworkManager netplan network systemd pam.d security sudoers sudoers.d passwd group shadow gshadow nsswitch.conf; do
[ ! -e "/etc/$entry" ] || cp -a "/etc/$entry" "$guard/spare$number/"
done
fi
(
cd "$root" || exit
rm -rf .labrun-tree
mkdir .labrun-tree
set --
for entry in * .[!.]*; do
case $entry in .labrun-tree | .labrun-kept) ;; *) if [ -e "$entry" ] || [ -L "$entry" ]; then set -- "$@" "$entry"; fi;; esac
done
if [ "$root" = /boot ]; then [ $# -eq 0 ] || copy_boot "$@"
elif [ $# -gt 0 ]; then cp -a "$@" .labrun-tree/
fi
tree_list >"$guard/tree$number"
)
done
# Of a link, what it leads to: that is what a login runs.
stat -L -c '%a %u:%g %n' / /etc /home "$home" "$home/.ssh" /root /root/.ssh /usr /usr/sbin /usr/bin /usr/sbin/sshd /bin/sh /bin/bash /usr/bin/env /usr/bin/sudo /usr/lib /usr/lib64 /lib64 \
/usr/lib/*-linux-* /lib64/ld-* /lib/ld-* /usr/lib*/libc.so.6 /usr/lib/*/libc.so.6 /usr/libexec /usr/libexec/sudo /usr/libexec/sudo/*.so /usr/lib/sudo /usr/lib/sudo/*.so \
/var /var/lib /run /run/sshd /tmp /dev /dev/null /dev/zero /dev/full /dev/random /dev/urandom /dev/tty /dev/ptmx /dev/pts 2>/dev/null \
>"$guard/modes" || :
fi
if [ -n "$checkpoint" ]; then
# Later than the guard's deadline: two rollbacks at different times could each undo one half.
: >"$guard/checkpoint"
lasts=$((2 * (applying + seconds)))
# dbus-send needs half the time of busctl, but not every system has it, and it leaves words in front of the path.
point=$(dbus-send --system --print-reply=literal --dest=org.freedesktop.NetworkManager /org/freedesktop/NetworkManager \
org.freedesktop.NetworkManager.CheckpointCreate array:objpath: uint32:$lasts uint32:6 2>/dev/null) || point=
case $point in */*) ;; *) point=$(busctl --auto-start=no call org.freedesktop.NetworkManager \
/org/freedesktop/NetworkManager org.freedesktop.NetworkManager CheckpointCreate aouu 0 $lasts 6);;
esac
point=${point#"${point%%/*}"}
echo "${point%\"}" >"$guard/checkpoint"
fi
case $unit in
/etc/init.d/*) printf '%s' "$init_text" >"$unit"; chmod 755 "$unit";;
*) printf '%s' "$unit_text" >"$unit";;
esac
ln -sf "$unit" "$link"
: >"$guard/armed"
# A change may hide or remove the guard's folder: a copy in memory, without the list of packages, which is large.
[ -z "$wide" ] || { cp -a "$guard" "$live/spare"; rm -f "$live/spare/packages"; }
start_watch
if [ -n "$wide" ]; then sync -f /etc; sync -f "$guard"; [ -z "$boot_root" ] || sync -f /boot
else
set -- "$guard" "$guard"/* "$unit"
[ -z "$folders" ] || while IFS= read -r folder; do set -- "$@" "$folder"/.labrun-kept/*; done <"$guard/folders"
sync "$@"
fi
