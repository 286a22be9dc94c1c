# The packages that are installed, of those asked for, by one process; unknown ones are omitted. Needs frames.
packages_state() {
if command -v dpkg-query >/dev/null; then
frame packages-by apt
# shellcheck disable=SC2016 # dpkg-query expands them
capture packages dpkg-query --show --showformat '${Package}:${Architecture} ${db:Status-Status} ${Version}\n' "$@"
elif command -v rpm >/dev/null; then
frame packages-by dnf
capture packages rpm --query --queryformat '%{NAME}:%{ARCH} installed %{VERSION}-%{RELEASE}\n' "$@"
fi
}
