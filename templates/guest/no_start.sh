# Ask systemd about units if no link has a boot start one of them. Values: units.
if [ -d /run/systemd/system ]; then
starts=
for unit in $units; do
[ -c "/etc/systemd/system/$unit" ] && continue
for each in /etc/systemd/system/*.wants/"$unit" /etc/systemd/system/*.requires/"$unit" \
/usr/lib/systemd/system/*.wants/"$unit" /lib/systemd/system/*.wants/"$unit"; do
[ ! -L "$each" ] || starts=yes
done
done
# shellcheck disable=SC2086 # several words
[ -n "$starts" ] || capture "no-start $units" systemctl show --property=Id,LoadState,UnitFileState -- $units
fi
