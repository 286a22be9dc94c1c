# Exit with 0 once the boot is over and what manages the NICs runs: what it is about to set is no difference.
# Needs boot_state by_openrc.
case $(boot_state 2>/dev/null) in running|degraded) ;; *) exit 1;; esac
by_openrc || { systemctl -q is-active NetworkManager systemd-networkd networking; exit; }
for each in networking NetworkManager networkmanager; do [ ! -h "/run/openrc/started/$each" ] || exit 0; done
# A script that is not OpenRC's own leaves no mark when it is started again; it has brought up more than lo.
grep -qsv '^lo\(=\| \|$\)' /run/network/ifstate /run/ifstate
