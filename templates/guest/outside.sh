# What a change may leave outside /etc and the network: packages, mounts, stopped servers, transient units.
# Sourced like snapshot.sh, and after it.

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
$1 ~ /^\/(etc|home|root|usr|bin|sbin|lib|lib64|var)(\/|$)/ && $1 !~ /^\/var\/lib\/(docker|containers|containerd|kubelet|lxc|lxd|machines|libvirt|nfs)(\/|$)/ { print $1 }' "$1" "$2"
}

# Resume stopped processes that a login needs.
wake() {
for wake_each in /proc/[0-9]*; do
read -r wake_line <"$wake_each/stat" || continue
case ${wake_line##*")"} in " T "*) ;; *) continue;; esac
case $wake_line in
*"(sshd"*")"* | *"(NetworkManager)"* | *"(dbus-"*")"* | *"(systemd"*")"* | *"(polkitd)"*) kill -CONT "${wake_each#/proc/}";;
esac
done
} 2>/dev/null

# A mount that hides a folder has to go before anything in it is restored.
put_back_mounts() {
[ -e "$guard/mounts" ] || return 0
mount_state >"$live/mounts"; mount_difference "$guard/mounts" "$live/mounts" >"$live/todo"
while IFS= read -r mounts_place; do umount -l "$(printf '%b' "$mounts_place")"; done <"$live/todo"
[ ! -e /run/nologin ] || [ -e "$guard/nologin" ] || rm -f /run/nologin
} 2>/dev/null

# --- Units and NetworkManager ---------------------------------------------------------------------------------

# Transient units of systemd carry no mark of the change: they are recognised by being new.
stop_transient() {
[ -e "$guard/units" ] && unit_state >"$live/units" || return 0
awk 'FILENAME == ARGV[1] { old[$1] = 1; next } !($1 in old) && $1 !~ /^labrun-guard/ { print $1 }' "$guard/units" "$live/units" |
while IFS= read -r stop_unit; do
[ "$(systemctl show --property=UnitFileState --value "$stop_unit")" != transient ] || timeout 10 systemctl stop "$stop_unit"
done
} 2>/dev/null

# NetworkManager remembers whether networking is enabled at all; without the file it is.
put_back_networking() {
[ -s "$guard/roots" ] && ! grep -q '^NetworkingEnabled=false' "$guard/networking" || return 0
grep -q '^NetworkingEnabled=false' /var/lib/NetworkManager/NetworkManager.state || return 0
if [ "$on" = live ] && timeout 20 nmcli networking on; then return; fi
rm -f /var/lib/NetworkManager/NetworkManager.state
[ ! -e "$guard/networking" ] || cp -a "$guard/networking" /var/lib/NetworkManager/NetworkManager.state
} >/dev/null 2>&1
