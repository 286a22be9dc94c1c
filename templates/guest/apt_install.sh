# Install packages with apt-get in one transaction. Defines: install_packages.
# Another apt may hold the lock, such as the daily one: wait for it. Changed configuration files stay. Without a
# logind to inhibit a shutdown meanwhile, apt would wait 25 seconds for one. Conflicting packages, sshd for
# instance, are not removed: that could not be undone.
export DEBIAN_FRONTEND=noninteractive NEEDRESTART_SUSPEND=1
inhibit=true
[ -d /run/systemd/inhibit ] || inhibit=false
apt() {
apt-get --quiet=2 --yes --no-remove --option DPkg::Lock::Timeout=60 --option Dpkg::Use-Pty=0 \
--option DPkg::Inhibit-Shutdown=$inhibit \
--option Dpkg::Options::=--force-confdef --option Dpkg::Options::=--force-confold \
--option Acquire::Retries=1 --option Acquire::http::Timeout=15 --option Acquire::https::Timeout=15 "$@" 2>&1
}
install_packages() {
# What a package starts keeps the output open: it goes to a file, which nobody waits for.
said=/run/labrun-packages
# It exits with 0 even for unreachable sources: its messages count if a package is missing.
updated=$(apt update) || :
printf '%s\n' "$updated" >"$said.lists"
if apt install "$@" >"$said"; then return 0; fi
trouble=$(printf '%s\n' "$updated" | sed -n '/^[EW]: /{s/^[EW]: *//;p;q}')
sed -n 's/^E: Unable to locate package \(.*\)$/\1/p' "$said" | while read -r name
do echo "$name: apt-get finds no such package${trouble:+ (apt-get update: $trouble)}"; done
echo "apt-get: $(sed -n '/^E: /{s/^E: *//;p;q}' "$said")"
return 1
}
