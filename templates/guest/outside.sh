# What a wide change may leave outside the network: packages, mounts, stopped servers, whole folders.
# Sourced after snapshot.sh and trees.sh, only if the change is wide.

# --- Packages -------------------------------------------------------------------------------------------------

# dpkg replaces its status file rather than rewriting it: a hard link keeps the old one at no cost.
package_state() {
[ ! -e /var/lib/dpkg/status ] || ln /var/lib/dpkg/status "$1" 2>/dev/null || cp /var/lib/dpkg/status "$1"
}

# Print NAME:ARCHITECTURE STATE VERSION for each package in such a file.
package_list() {
awk '
function tell() { if (name != "") print name ":" architecture " " state " " version; name = version = "" }
/^Package: / { name = $2 }
/^Architecture: / { architecture = $2 }
/^Status: / { state = $4 }
/^Version: / { version = $2 }
/^$/ { tell() }
END { tell() }' "$1"
}

# Print `purge NAME` for packages new in the second list, `gone NAME` and `replaced NAME` for lost ones.
package_difference() {
awk '
{ here = $2 != "not-installed" && $2 != "config-files" }
FILENAME == ARGV[1] { if (here) old[$1] = $3; next }
here { now[$1] = 1; if (!($1 in old)) print "purge " $1; else if (old[$1] != $3) print "replaced " $1 }
END { for (name in old) if (!(name in now)) print "gone " name }' "$1" "$2"
}

list_packages() {
package_list "$guard/packages" >"$live/packages-before" &&
dpkg-query --show --showformat '${Package}:${Architecture} ${db:Status-Status} ${Version}\n' >"$live/packages" &&
package_difference "$live/packages-before" "$live/packages" >"$live/todo"
}

# Remove newly installed packages. Their scripts need a host that is up.
put_back_packages() {
[ -e "$guard/packages" ] && list_packages || return 0
set --
while read -r packages_do packages_name; do
[ "$packages_do" != purge ] || set -- "$@" "$packages_name"
done <"$live/todo"
[ $# -gt 0 ] || return 0
if [ "$on" = live ]; then
LABRUN_CHANGE=$run DEBIAN_FRONTEND=noninteractive timeout 60 dpkg --purge --force-depends --force-remove-reinstreq "$@"
else failing="${failing}packages: $* cannot be taken out yet
"
fi
} </dev/null 2>/dev/null

# --- Mounts and processes -------------------------------------------------------------------------------------

# Print the mount points, one line per mount.
mount_state() { while read -r mount_source mount_place mount_rest; do printf '%s\n' "$mount_place"; done </proc/self/mounts; }

# Print new mounts that hide a folder needed for a login.
mount_difference() {
awk '
FILENAME == ARGV[1] { old[$1]++; next }
old[$1]-- > 0 { next }
$1 ~ /^\/(run|dev|sys|tmp)$/ { print $1; next }
$1 ~ /^\/(etc|home|root|usr|bin|sbin|lib|lib64|var)(\/|$)/ && $1 !~ /^\/var\/lib\/(docker|containers|containerd|kubelet|lxc|lxd|machines|libvirt|nfs)(\/|$)/ { print $1 }' "$1" "$2"
}

# Succeed if a process, by its folder in /proc, is of this host itself: one in a container has a second number.
is_own() {
while read -r own_key own_number own_inner; do
[ "$own_key" != NSpid: ] || { [ -z "$own_inner" ]; return; }
done <"$1/status"
}

# Resume stopped processes that a login needs. What somebody stopped in a container here is not this host's.
wake() {
for wake_each in /proc/[0-9]*; do
read -r wake_line <"$wake_each/stat" || continue
case ${wake_line##*")"} in " T "*) ;; *) continue;; esac
case $wake_line in
*"(sshd"*")"* | *"(NetworkManager)"* | *"(dbus-"*")"* | *"(systemd"*")"* | *"(polkitd)"*)
is_own "$wake_each" && kill -CONT "${wake_each#/proc/}";;
esac
done
} 2>/dev/null

# What hides /proc, /dev or /run hides what going back needs itself. Without files in memory, and before all else.
uncover() {
grep -Fxq /proc "$guard/mounts" || return 0
# Where /proc is hidden nothing can be unmounted, so it is mounted once more.
[ -e /proc/self/mounts ] || mount -t proc proc /proc
for uncover_place in /dev /run; do
uncover_count=0
while IFS= read -r uncover_line; do [ "$uncover_line" != $uncover_place ] || uncover_count=$((uncover_count - 1)); done <"$guard/mounts"
while read -r uncover_source uncover_line uncover_rest; do
[ "$uncover_line" != $uncover_place ] || uncover_count=$((uncover_count + 1))
done </proc/self/mounts
while [ $uncover_count -gt 0 ]; do umount -l $uncover_place; uncover_count=$((uncover_count - 1)); done
done
[ -c /dev/null ] || { rm -rf /dev/null; ln /dev/.labrun-null /dev/null || mknod -m 666 /dev/null c 1 3; }
[ -d "$live" ] || mkdir -p "$live"
[ -e "$live/decided" ] || echo undo >"$live/decided"
}

# The guard's folder is hidden or gone: what was mounted over it goes, or its copy in memory takes its place. Whoever
# ends the guard removes that copy first.
recover() {
[ ! -d "$guard" ] || return 0
[ -d "$live/spare" ] || return
mount_state >"$live/mounts"
mount_difference "$live/spare/mounts" "$live/mounts" >"$live/todo"
while IFS= read -r recover_place; do
case $guard in "$recover_place"/*) umount -l "$recover_place";; esac
done <"$live/todo"
[ -d "$guard" ] || { mkdir -p "${guard%/*}" && cp -a "$live/spare" "$guard"; }
} 2>/dev/null

# Print how much /run may hold. Its options do not say so where it has the kernel's default. The last line counts:
# that mount is on top.
run_size() {
size_type=
while read -r size_source size_place size_new size_rest; do [ "$size_place" != /run ] || size_type=$size_new; done </proc/self/mounts
[ "$size_type" = tmpfs ] || return 0
stat -f -c '%b %S %c' /run | while read -r size_blocks size_block size_names; do
echo "size=$((size_blocks * size_block / 1024))k,nr_inodes=$size_names"
done
}

# Where /run is full, services do not start, and systemd does not read its units again.
put_back_size() {
[ -s "$guard/run-size" ] && read -r size_before <"$guard/run-size" || return 0
[ "$(run_size)" = "$size_before" ] || mount -o "remount,$size_before" /run
}

# A mount that hides a folder has to go before anything in it is restored.
put_back_mounts() {
put_back_size
put_back_writable
[ -e "$guard/mounts" ] || return 0
mount_state >"$live/mounts"; mount_difference "$guard/mounts" "$live/mounts" >"$live/todo"
while IFS= read -r mounts_place; do umount -l "$(printf '%b' "$mounts_place")"; done <"$live/todo"
[ ! -e /run/nologin ] || [ -e "$guard/nologin" ] || rm -f /run/nologin
} 2>/dev/null

# --- What manages the NICs ------------------------------------------------------------------------------------

nm_state() { nmcli -t -f UUID,DEVICE connection show --active 2>/dev/null | grep -v ':lo$' || :; }

# NetworkManager remembers whether networking is enabled at all; without the file it is.
put_back_networking() {
[ -s "$guard/roots" ] && ! grep -q '^NetworkingEnabled=false' "$guard/networking" || return 0
grep -q '^NetworkingEnabled=false' /var/lib/NetworkManager/NetworkManager.state || return 0
if [ "$on" = live ] && timeout 20 nmcli networking on; then return; fi
rm -f /var/lib/NetworkManager/NetworkManager.state
[ ! -e "$guard/networking" ] || cp -a "$guard/networking" /var/lib/NetworkManager/NetworkManager.state
} >/dev/null 2>&1

# Restore the active profile of each device, then check addresses and routes once more.
put_back_nm() {
# Profiles of the same UUID that the change had NetworkManager read.
if [ -e "$guard/reloaded" ] && timeout 20 nmcli connection reload; then rm -f "$guard/reloaded"; fi
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

# systemd-networkd goes by the files that it has read last.
put_back_networkd() {
[ -s "$guard/roots" ] && [ -h /run/systemd/units/invocation:systemd-networkd.service ] || return 0
[ ! -e "$live/done-networkd" ] || return 0
! command -v netplan || timeout 20 netplan generate
timeout 20 networkctl reload && true >"$live/done-networkd"
put_back_ip
} >/dev/null 2>&1

# --- Files ----------------------------------------------------------------------------------------------------

put_back_files() {
[ -s "$guard/roots" ] || return 0
systemd_before=$(cat /etc/systemd/system/*.wants/* /etc/systemd/system/*.service 2>/dev/null | cksum)
files_number=0
while IFS= read -r files_root; do
files_number=$((files_number + 1))
files_said=$( tree_put_back "$files_root" $files_number 2>&1 ) || failing="${failing}files: ${files_said:-$files_root}
"
done <"$guard/roots"
put_back_links
while read -r modes_mode modes_owner modes_path; do
[ "$(stat -L -c '%a %u:%g' "$modes_path" 2>/dev/null)" = "$modes_mode $modes_owner" ] ||
{ chown "$modes_owner" "$modes_path" && chmod "$modes_mode" "$modes_path"; }
done <"$guard/modes"
[ "$on" = live ] || return 0
if [ "$systemd_before" != "$(cat /etc/systemd/system/*.wants/* /etc/systemd/system/*.service 2>/dev/null | cksum)" ] ||
[ -e "$guard/units" ]; then timeout 30 systemctl daemon-reload; fi
}

# The files are restored; an sshd that had read others needs a reload, wherever those had it note its process.
reload_restored() {
[ -s "$guard/roots" ] && [ ! -e "$live/done-sshd" ] && sshd -t && reload_sshd && true >"$live/done-sshd"
rm -f /run/labrun-sshd-reload
} >/dev/null 2>&1

# Units that were started as the change would have them run as that until they are started anew.
restart_rehearsed() {
[ -s "$guard/rehearsed" ] && [ ! -e "$live/done-rehearsed" ] || return 0
true >"$live/done-rehearsed"
while read -r rehearsed_unit; do
timeout 10 systemctl reset-failed "$rehearsed_unit"; timeout 60 systemctl restart "$rehearsed_unit"
done <"$guard/rehearsed"
} 2>/dev/null

# --- Afterwards -----------------------------------------------------------------------------------------------

# Print what differs from before, one line each.
differences_outside() {
if [ "$on" = live ]; then
if [ -s "$guard/nm" ] && nm_state >"$live/nm"; then
while IFS= read -r differ_line; do
grep -Fxq "$differ_line" "$live/nm" || echo "profile ${differ_line%%:*} is not active on ${differ_line#*:}"
done <"$guard/nm"
fi
if [ -e "$guard/units" ]; then
list_units && while read -r differ_do differ_unit; do
[ "$differ_do" != start ] || echo "$differ_unit is not running"
[ "$differ_do" != stop ] || case $(systemctl show --property=UnitFileState --value "$differ_unit") in
enabled | disabled | masked | linked) echo "$differ_unit runs";;
esac
done <"$live/todo"
fi
if [ -e "$guard/packages" ] && list_packages; then
while read -r differ_do differ_package; do
case $differ_do in
purge) echo "package ${differ_package%:*} cannot be removed";;
gone) echo "package ${differ_package%:*} was there and is gone";;
replaced) echo "package ${differ_package%:*} is another version";;
esac
done <"$live/todo"
fi
fi 2>/dev/null
differences_chain 2>/dev/null
[ -s "$guard/roots" ] || return 0
differ_number=0
while IFS= read -r differ_root; do
differ_number=$((differ_number + 1))
(cd "$differ_root" && tree_list >"$live/tree" && tree_difference "$guard/tree$differ_number" "$live/tree" sure) 2>/dev/null |
while IFS= read -r differ_line; do echo "$differ_root/${differ_line#* ./} is not as before"; done
done <"$guard/roots"
}
