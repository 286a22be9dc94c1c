# Activate profiles without cutting the session. Defines: nm load holds activate bring bad.
nm() { busctl --auto-start=no call org.freedesktop.NetworkManager "$@"; }
load() {
case $(nm /org/freedesktop/NetworkManager/Settings org.freedesktop.NetworkManager.Settings LoadConnections as $# "$@" 2>/dev/null) in "bas true"*) ;; *) nmcli connection load "$@";; esac
}
holds() {
n=0
until there=$(ip -o -4 address show dev "$1"); missing=; for a in $2; do
case $there in *" $a "*) ;; *) missing=$a;; esac
done; [ -z "$missing" ]; do n=$((n + 1)); [ $n -lt 10 ] || return 1; sleep 0.1; done
}
activate() { systemd-run --quiet --collect --wait --pipe nmcli --wait 30 connection up "$@"; }
bring() {
if [ -n "$3" ] &&
said=$(nm "$3" org.freedesktop.NetworkManager.Device Reapply 'a{sa{sv}}tu' 0 0 0 2>&1) &&
{ [ -z "$5" ] || holds "$1" "$5"; }; then return 0; fi
# A VLAN's device is made by its profile.
if [ -e "/sys/class/net/$1" ]; then activate uuid "$2" ifname "$1"; else activate uuid "$2"; fi && return 0
echo "$4: $1 did not come up${said:+; reapply said: $said}"; return 1
}
bad=0
