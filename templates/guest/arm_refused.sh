# Report why the guard could not be armed, and remove its traces. Values: run guard status. Needs frames and `tidy`.
if [ "$status" -eq 3 ]; then
{ read -r held_run; read -r held_owner; } <"$guard/owner"
read -r held_until <"$guard/until"
read -r up rest </proc/uptime; frame guard-held "$((held_until - ${up%.*})) $held_owner"
else
read -r held_run <"$guard/owner"
if [ "$held_run" = "$run" ]; then
[ ! -e "$guard/checkpoint" ] || [ -s "$guard/checkpoint" ] || {
capture checkpoints busctl --auto-start=no --json=short call org.freedesktop.NetworkManager /org/freedesktop \
org.freedesktop.DBus.ObjectManager GetManagedObjects
read -r up rest </proc/uptime; frame guard-uptime "${up%.*}"; }
( tidy ) >/dev/null
fi
fi 2>/dev/null
rm -rf "$guard.$run"
