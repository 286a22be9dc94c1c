# Remove all traces of the guard. Values: guard live unit link.
if [ -s "$guard/checkpoint" ]; then
read -r point <"$guard/checkpoint"
dbus-send --system --print-reply=literal --dest=org.freedesktop.NetworkManager /org/freedesktop/NetworkManager \
org.freedesktop.NetworkManager.CheckpointDestroy objpath:"$point" ||
busctl --auto-start=no call org.freedesktop.NetworkManager /org/freedesktop/NetworkManager \
org.freedesktop.NetworkManager CheckpointDestroy o "$point"
fi
watcher=
[ ! -e "$live/pid" ] || read -r watcher started <"$live/pid"
# The earlier state goes first: what is left of this folder after a power cut must not count as unconfirmed.
set -- "$guard/armed" "$unit" "$link" "$live" /dev/.labrun-null
if [ -s "$guard/folders" ]; then while IFS= read -r folder; do set -- "$@" "$folder/.labrun-kept"; done <"$guard/folders"; fi
if [ -s "$guard/roots" ]; then while IFS= read -r folder; do set -- "$@" "$folder/.labrun-tree"; done <"$guard/roots"; fi
if [ -s "$guard/emptied" ]; then
rm -rf "$@"; set --
while IFS= read -r folder; do rmdir "$folder"; done <"$guard/emptied"
fi
# The guard's directory goes last: while it exists, no other run can arm one.
rm -rf "$@" "$guard"
# It would notice by itself a moment later.
[ -z "$watcher" ] || kill "$watcher"
