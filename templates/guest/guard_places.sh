# Where OpenRC finds what a boot starts: in the first runlevel, since the network can be in the same.
# Values: unit link. Changes both where there is no systemd.
if [ ! -d /run/systemd/system ] && [ -d /etc/runlevels ]; then
unit=/etc/init.d/labrun-guard link=/etc/runlevels/sysinit/labrun-guard
fi
