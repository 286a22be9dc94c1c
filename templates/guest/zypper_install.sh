# Install packages with zypper in one transaction. Defines: install_packages.
# Another zypper may hold the lock, such as the daily one: wait for it. What conflicts with an installed package is
# not installed: zypper then asks, and without an answer gives up.
export ZYPP_LOCK_TIMEOUT=60
install_packages() {
said=/run/labrun-packages
ended=0
zypper --non-interactive --quiet install --auto-agree-with-licenses -- "$@" >"$said" 2>&1 || ended=$?
# These statuses tell of a need to restart or reboot, of a repository that was skipped, of nothing that failed.
case $ended in 0 | 102 | 103 | 106) return 0;; esac
sed -n "s/^No provider of '\(.*\)' found\.\$/\1: zypper finds no such package/p" "$said"
echo "zypper: $(sed -n '/^\(Loading\|Reading\|Building\|Refreshing\) /d;/[^[:space:]]/{p;q}' "$said")"
return 1
}
