# A bridge by NetworkManager: profiles below /run, which a reboot forgets, under a checkpoint of NetworkManager's
# own, whose timeout is the second net below the guard.
# In front: `old_uuid` of the NIC's profile, `bridge_uuid`, `port_uuid`, `wanted` (bridge or nic).
profiles=/run/NetworkManager/system-connections
service=org.freedesktop.NetworkManager
manager() { # METHOD [SIGNATURE ARGUMENT..]
    busctl call $service /org/freedesktop/NetworkManager $service "$@"
}
checkpoint() {
    # Deletes new profiles and takes down new devices when it rolls back, and no checkpoint of others.
    manager CheckpointCreate aouu 0 $((seconds + settle + 60)) 6 | cut -d '"' -f 2 >"$dir/checkpoint" &&
        [ -s "$dir/checkpoint" ]
}
save() { # UUID
    path=$(nmcli -g DBUS-PATH,UUID connection show | sed -n "s/:$1\$//p")
    [ -z "$path" ] || busctl call $service "$path" $service.Settings.Connection Save
}
is_on() { # UUID DEVICE
    [ "$(nmcli -g GENERAL.CON-UUID device show "$2" 2>/dev/null)" = "$1" ]
}
bring() { # UUID DEVICE
    nmcli --wait 60 connection up uuid "$1" >/dev/null 2>&1
    is_on "$1" "$2"
}
to_bridge() {
    mkdir -p $profiles && cp "$dir"/new/*.nmconnection $profiles/ && chmod 600 $profiles/labrun-"$bridge"*.nmconnection &&
        nmcli connection load $profiles/labrun-"$bridge"*.nmconnection && bring "$bridge_uuid" "$bridge" &&
        { is_on "$port_uuid" "$nic" || bring "$port_uuid" "$nic"; }
}
to_nic() {
    if ! nmcli -g UUID connection show | grep -qx "$old_uuid"; then
        mkdir -p $profiles && cp "$dir/new/old.nmconnection" "$profiles/labrun-$nic.nmconnection" &&
            chmod 600 "$profiles/labrun-$nic.nmconnection" &&
            nmcli connection load "$profiles/labrun-$nic.nmconnection"
    fi
    nmcli connection down uuid "$bridge_uuid" >/dev/null 2>&1
    bring "$old_uuid" "$nic"
}
apply() { checkpoint && "to_$wanted"; }
# What is permanent comes before the end of the checkpoint: whoever is killed between is rolled back by it.
keep() {
    if [ "$wanted" = bridge ]; then save "$bridge_uuid" && save "$port_uuid" || return 1
    # The NIC's own profile is on disk, and its file stays as it is, unless it was lost.
    elif [ -e "$profiles/labrun-$nic.nmconnection" ]; then save "$old_uuid" || return 1
    fi
    # A second try finds no checkpoint; one that has rolled back by itself leaves the other profile on the NIC.
    manager CheckpointDestroy o "$(cat "$dir/checkpoint")"
    if [ "$wanted" = bridge ]; then is_on "$port_uuid" "$nic"; else is_on "$old_uuid" "$nic"; fi || return 1
    if [ "$wanted" = nic ]; then nmcli connection delete uuid "$bridge_uuid" uuid "$port_uuid"; fi
    return 0
}
take_back() {
    if [ -s "$dir/checkpoint" ]; then manager CheckpointRollback o "$(cat "$dir/checkpoint")"; fi
    if [ "$wanted" = bridge ]; then
        nmcli connection delete uuid "$bridge_uuid" uuid "$port_uuid" >/dev/null 2>&1
        rm -f $profiles/labrun-"$bridge"*.nmconnection
        if [ -e "/sys/class/net/$bridge" ]; then ip link delete "$bridge"; fi
        is_on "$old_uuid" "$nic" || bring "$old_uuid" "$nic"
    else
        { is_on "$bridge_uuid" "$bridge" || bring "$bridge_uuid" "$bridge"; } &&
            { is_on "$port_uuid" "$nic" || bring "$port_uuid" "$nic"; }
    fi
}
