# Name what runs here and sets NICs, without a family of guests in labrun. Needs frames.
for each in connman dhcpcd iwd wickedd; do
for place in /run/systemd/units/invocation:"$each".service /run/systemd/units/invocation:"$each"@*.service /run/openrc/started/"$each"; do
[ ! -h "$place" ] || { frame "nic-manager $each"; break; }
done
done
