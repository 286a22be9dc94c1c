# Where OpenRC finds what a boot starts: in the runlevel of the network, the first one where that is not known.
# Values: unit link. Changes both where there is no systemd.
if [ ! -d /run/systemd/system ] && [ -d /etc/runlevels ]; then
unit=/etc/init.d/labrun-guard link=/etc/runlevels/sysinit/labrun-guard
for level_each in networking labrun-guard; do
[ ! -h "/etc/runlevels/boot/$level_each" ] || link=/etc/runlevels/boot/labrun-guard
done
fi
