# What the next boot would do with this host, checked only if a change could have affected it. Value: guard.
if [ -s "$guard/vital" ] && [ -d /etc/.labrun-tree ]; then
frame out boot-before; cat "$guard/vital"; frame status boot-before 0
if [ -s "$guard/vital-now" ]; then capture boot-now cat "$guard/vital-now"; else capture boot-now vital_state; fi
for each in before now; do
[ ! -e "$guard/calls-$each" ] || capture "boot-calls-$each" cat "$guard/calls-$each"
done
capture boot-sshd sshd -t
for each in needs-failed hiding; do
[ ! -s "$guard/$each" ] || capture "boot-$each" cat "$guard/$each"
done
# What systemd itself, and with it everything, may never do again: it reads this when it starts.
manager_words() { grep -hsE '^[[:space:]]*(NoNewPrivileges|CapabilityBoundingSet|SystemCallArchitectures)[[:space:]]*=' "$1/system.conf" "$1"/system.conf.d/*.conf || :; }
capture boot-manager-before manager_words /etc/.labrun-tree/systemd
capture boot-manager manager_words /etc/systemd
changed() {
if [ ! -e "/etc/.labrun-tree/$1" ] && [ ! -e "/etc/$1" ]; then return 1; fi
! diff -rq --no-dereference "/etc/.labrun-tree/$1" "/etc/$1" >/dev/null 2>&1
}
if changed fstab; then
capture boot-fstab-before findmnt --verify --tab-file /etc/.labrun-tree/fstab
capture boot-fstab findmnt --verify
capture boot-mounts try_mounts
fi
if [ -s "$guard/chain" ]; then
frame out boot-chain-before; cat "$guard/chain"; frame status boot-chain-before 0
capture boot-chain chain_state
capture boot-images try_images
capture boot-words try_words
fi
if changed sysctl.d || changed sysctl.conf; then capture boot-locks try_locks; fi
if changed modprobe.d; then capture boot-drivers try_drivers; fi
[ ! -e "$guard/plugged" ] || capture boot-names try_names
# Load the boot ruleset where it filters nothing, in a namespace with devices of the same names.
loads_nft() {
if [ -d /run/systemd/system ]; then
case $(systemctl show --property=UnitFileState --value nftables.service) in enabled*) return 0;; esac
else
for each in /etc/runlevels/*/nftables; do [ ! -e "$each" ] || return 0; done
fi
return 1
}
if [ -e /etc/nftables.conf ] && loads_nft; then
capture boot-way cat "$guard/way"
# shellcheck disable=SC2016,SC2046
capture boot-nft unshare --net sh -c 'for each; do [ "$each" = lo ] || ip link add "$each" type bridge; done
nft -f /etc/nftables.conf && nft -a list ruleset' sh $(ls /sys/class/net)
fi
if [ -d /run/systemd/system ] && ! diff -rq --no-dereference -x .labrun-kept -x labrun-guard.service /etc/.labrun-tree/systemd /etc/systemd >/dev/null 2>&1; then
capture "boot-unit multi-user.target" systemd-analyze verify --man=no sysinit.target basic.target multi-user.target
for each in ssh.service sshd.service ssh.socket NetworkManager.service systemd-networkd.service; do
case $(systemctl show --property=LoadState,UnitFileState --value "$each" | tr '\n' ' ') in
loaded\ enabled*)
capture "boot-unit $each" systemd-analyze verify --man=no "$each"
capture "boot-condition $each" systemd-analyze condition --unit="$each";;
esac
done
fi
if ! diff -rq -x .labrun-kept /etc/.labrun-tree/NetworkManager /etc/NetworkManager >/dev/null 2>&1; then
capture boot-nm-before NetworkManager --print-config --config /etc/.labrun-tree/NetworkManager/NetworkManager.conf \
--config-dir /etc/.labrun-tree/NetworkManager/conf.d
capture boot-nm NetworkManager --print-config
for each in /etc/NetworkManager/system-connections/*.nmconnection; do
[ ! -e "$each" ] || cmp -s "/etc/.labrun-tree/${each#/etc/}" "$each" || capture "boot-profile $each" cat "$each"
done
fi
fi
