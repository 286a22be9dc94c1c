# The packages that are installed, of those asked for, by one process; unknown ones are omitted. A machine with
# several databases goes by dpkg's: rpm can be a mere tool there, as zypper can beside dnf. Needs frames.
packages_state() {
if command -v dpkg-query >/dev/null; then
frame packages-by apt
# shellcheck disable=SC2016 # dpkg-query expands them
capture packages dpkg-query --show --showformat '${Package}:${Architecture} ${db:Status-Status} ${Version}\n' "$@"
elif command -v rpm >/dev/null; then
if command -v dnf >/dev/null; then frame packages-by dnf
elif command -v zypper >/dev/null; then frame packages-by zypper
else frame packages-by rpm
fi
capture packages rpm --query --queryformat '%{NAME}:%{ARCH} installed %{VERSION}-%{RELEASE}\n' "$@"
elif command -v apk >/dev/null; then
frame packages-by apk
apk_database=/lib/apk/db/installed
[ -e "$apk_database" ] || apk_database=/usr/lib/apk/db/installed
# One line per field, such as P:busybox, and an empty line after each package.
# shellcheck disable=SC2016 # awk's own
capture packages awk -v asked=" $* " '/^P:/ {name = substr($0, 3)} /^V:/ {version = substr($0, 3)} /^A:/ {arch = substr($0, 3)}
$0 == "" {if (index(asked, " " name " ") || index(asked, " " name ":")) print name ":" arch " installed " version; name = ""}' "$apk_database"
fi
}
