# A bridge by netplan: until it is kept, the changed files lie below /run/netplan, where they hide those of the
# same names in /etc/netplan, and a reboot forgets them.
# In front: `files`, the names of the changed files, which are in $dir/new; `wanted` (bridge or nic).
free_bridge() {
    # netplan takes no bridge away, and networkd no NIC out of one.
    if [ -e "/sys/class/net/$bridge" ]; then ip link delete "$bridge"; fi
}
apply() {
    mkdir -p /run/netplan
    for file in $files; do install -m 600 "$dir/new/$file" "/run/netplan/$file" || return 1; done
    netplan generate || return 1
    if [ "$wanted" = nic ]; then free_bridge; fi
    netplan apply
}
keep() {
    for file in $files; do
        install -m 600 "$dir/new/$file" "/etc/netplan/.$file.labrun" && sync "/etc/netplan/.$file.labrun" &&
            mv "/etc/netplan/.$file.labrun" "/etc/netplan/$file" || return 1
    done
    for file in $files; do rm -f "/run/netplan/$file"; done
    netplan generate
}
take_back() {
    for file in $files; do
        rm -f "/run/netplan/$file" "/etc/netplan/.$file.labrun"
        # Only where the change was about to be kept has the file itself been replaced.
        cmp -s "$dir/old-files/$file" "/etc/netplan/$file" || install -m 600 "$dir/old-files/$file" "/etc/netplan/$file"
    done
    netplan generate
    if [ "$wanted" = bridge ]; then free_bridge; fi
    netplan apply
}
