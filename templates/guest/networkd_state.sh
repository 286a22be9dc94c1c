# What systemd-networkd has of the NICs, and all network files: nothing where it has not run. Needs frames.
set -- /run/systemd/netif/links/*
runs=
[ ! -h /run/systemd/units/invocation:systemd-networkd.service ] || runs=yes
if [ -n "$runs" ] || [ -e "$1" ]; then
[ -z "$runs" ] || frame networkd-runs
capture networkd-links grep -s '' "$@"
set --
for folder in /etc/systemd/network /run/systemd/network /usr/local/lib/systemd/network /usr/lib/systemd/network /lib/systemd/network; do
[ ! -h "${folder%/systemd/network}" ] || continue
for each in "$folder"/*.network "$folder"/*.network.d/*.conf "$folder"/05-labrun-*.netdev; do
[ ! -e "$each" ] || set -- "$@" "$each"
done
done
if [ $# -gt 0 ]; then
capture networkd-modes stat -L -c '%a %U %n' "$@"
# A device is a file that hides others of its name, and has nothing to read.
capture networkd-files grep -Hs -D skip '' "$@"
fi
fi
