# A bridge by ifupdown: until it is kept, ifup reads what is new from $dir/new/interfaces, and the files below
# /etc/network are as before, so a reboot has the old network.
# In front: `files`, the paths of the changed files, which are in $dir/new below their whole paths;
# `wanted` (bridge or nic).
down() { # DEVICE [OPTION..]
    device=$1
    shift
    ifdown "$@" --force "$device"
    if [ -e "/sys/class/net/$device" ]; then ip address flush dev "$device"; fi
}
free_bridge() {
    if [ -e "/sys/class/net/$bridge" ]; then ip link delete "$bridge"; fi
}
apply() {
    if [ "$wanted" = bridge ]; then
        down "$nic"
        ifup -i "$dir/new/interfaces" "$nic" "$bridge"
    else
        down "$bridge"
        down "$nic"
        free_bridge
        ifup -i "$dir/new/interfaces" "$nic"
    fi
}
keep() {
    for file in $files; do
        cp -p "$file" "$file.labrun-new" && cat "$dir/new$file" >"$file.labrun-new" && sync "$file.labrun-new" &&
            mv "$file.labrun-new" "$file" || return 1
    done
}
take_back() {
    for file in $files; do
        rm -f "$file.labrun-new"
        cmp -s "$dir/old-files$file" "$file" || cat "$dir/old-files$file" >"$file"
    done
    if [ "$wanted" = bridge ]; then
        down "$bridge" -i "$dir/new/interfaces"
        free_bridge
        down "$nic" -i "$dir/new/interfaces"
        ifup "$nic"
    else
        down "$nic" -i "$dir/new/interfaces"
        ifup "$nic" "$bridge"
    fi
}
