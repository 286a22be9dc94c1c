# What a change may leave outside /etc and the network: packages, mounts, servers that a signal has stopped, units of the
# moment. Sourced as snapshot.sh is, and after it.

# --- Packages -------------------------------------------------------------------------------------------------

# dpkg puts another record in the place of its old one: a second name for that keeps it, and costs nothing.
package_state() {
[ ! -e /var/lib/dpkg/status ] || ln /var/lib/dpkg/status "$1" 2>/dev/null || cp /var/lib/dpkg/status "$1"
}

# Prints NAME:ARCHITECTURE STATE VERSION for each package in such a record.
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

# Prints `purge NAME` for what is new in the second list, `gone NAME` and `replaced NAME` for what no undo brings back.
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

# What was put in is taken out. Its scripts ask for a host that has started.
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

# Prints where something is mounted, a line each, once for each mount.
mount_state() { while read -r mount_source mount_place mount_rest; do printf '%s\n' "$mount_place"; done </proc/self/mounts; }

# Prints what is mounted now and was not, of what hides a folder that a login needs.
mount_difference() {
awk '
FILENAME == ARGV[1] { old[$1]++; next }
old[$1]-- > 0 { next }
$1 ~ /^\/(etc|home|root|usr|bin|sbin|lib|lib64|var)(\/|$)/ && $1 !~ /^\/var\/lib\/(docker|containers|containerd|kubelet|lxc|lxd|machines|libvirt|nfs)(\/|$)/ { print $1 }' "$1" "$2"
}

# What a login needs and somebody has stopped goes on.
wake() {
for wake_each in /proc/[0-9]*; do
read -r wake_line <"$wake_each/stat" || continue
case ${wake_line##*")"} in " T "*) ;; *) continue;; esac
case $wake_line in
*"(sshd"*")"* | *"(NetworkManager)"* | *"(dbus-"*")"* | *"(systemd"*")"* | *"(polkitd)"*) kill -CONT "${wake_each#/proc/}";;
esac
done
} 2>/dev/null

# What hides a folder has to go before anything in it goes back.
put_back_mounts() {
[ -e "$guard/mounts" ] || return 0
mount_state >"$live/mounts"; mount_difference "$guard/mounts" "$live/mounts" >"$live/todo"
while IFS= read -r mounts_place; do umount -l "$(printf '%b' "$mounts_place")"; done <"$live/todo"
[ ! -e /run/nologin ] || [ -e "$guard/nologin" ] || rm -f /run/nologin
} 2>/dev/null

# --- Units and NetworkManager ---------------------------------------------------------------------------------

# What systemd was asked to run for the moment carries no mark of the change: it is known by being new.
stop_transient() {
[ -e "$guard/units" ] && unit_state >"$live/units" || return 0
awk 'FILENAME == ARGV[1] { old[$1] = 1; next } !($1 in old) && $1 !~ /^labrun-guard/ { print $1 }' "$guard/units" "$live/units" |
while IFS= read -r stop_unit; do
[ "$(systemctl show --property=UnitFileState --value "$stop_unit")" != transient ] || timeout 10 systemctl stop "$stop_unit"
done
} 2>/dev/null

# Whether NetworkManager manages anything at all, it remembers itself; without such a file it does.
put_back_networking() {
[ -s "$guard/roots" ] && ! grep -q '^NetworkingEnabled=false' "$guard/networking" || return 0
grep -q '^NetworkingEnabled=false' /var/lib/NetworkManager/NetworkManager.state || return 0
if [ "$on" = live ] && timeout 20 nmcli networking on; then return; fi
rm -f /var/lib/NetworkManager/NetworkManager.state
[ ! -e "$guard/networking" ] || cp -a "$guard/networking" /var/lib/NetworkManager/NetworkManager.state
} >/dev/null 2>&1
