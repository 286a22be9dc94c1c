# Set the running hostname. hostname(1) asks only the kernel; hostnamectl is for systems without it.
set_hostname() {
if command -v hostname >/dev/null; then hostname "$1"
else hostnamectl --transient set-hostname "$1"; fi
}
