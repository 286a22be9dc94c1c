# What a boot cleans and mounts: done now as far as the guard can undo it, otherwise noted. Defines: clean_as_boot note_mounts run_scripts.
# Values: guard.

# Print the folders that a login needs, and those above them.
needed_folders() {
read -r needed_home <"$guard/home"
for needed in "$needed_home/.ssh" /root/.ssh /etc/ssh /etc/NetworkManager /etc/systemd /usr/sbin /usr/bin /usr/lib /var/lib/labrun; do
while [ -n "$needed" ]; do printf '%s\n' "$needed"; needed=${needed%/*}; done
done
}

# Note units that the next boot would mount over such a folder. What is mounted now is proven by the new login.
note_mounts() {
needed_folders >"$guard/needed"
systemctl list-units --all --plain --no-legend --no-pager --full --type=mount,automount | while read -r mount_unit mount_load mount_active mount_rest; do
[ "$mount_active" != active ] || continue
! grep -q "^$mount_unit " "$guard/units" || continue
mount_place=$(systemctl show --property=Where --value "$mount_unit")
grep -Fxq "$mount_place" "$guard/needed" || continue
[ -z "$(systemctl show --property=WantedBy,RequiredBy --value "$mount_unit" | tr -d '\n')" ] || echo "$mount_unit would hide $mount_place"
done >"$guard/hiding"
}

# Run new scripts of the managers of NICs as for a NIC that has come up, the one of this login.
run_scripts() {
read -r script_client script_cport script_server script_port <"$guard/way"
[ -n "$script_server" ] || return 0
script_nic=$(ip -o address show to "${script_server%%%*}" | awk '{ print $2; exit }')
for script in /etc/NetworkManager/dispatcher.d/* /etc/network/if-up.d/*; do
if [ ! -f "$script" ] || [ ! -x "$script" ] || cmp -s "/etc/.labrun-tree/${script#/etc/}" "$script"; then continue; fi
case $script in
*/dispatcher.d/*) DEVICE_IFACE=$script_nic DEVICE_IP_IFACE=$script_nic CONNECTION_UUID=$(nmcli -t -g GENERAL.CON-UUID device show "$script_nic") \
timeout 30 "$script" "$script_nic" up;;
*) IFACE=$script_nic LOGICAL=$script_nic MODE=start PHASE=post-up ADDRFAM=inet METHOD=static timeout 30 "$script";;
esac
done
}

# Apply the changed lines of tmpfiles.d to what the guard restores: /etc, the login's keys, modes of folders above them.
# Lines that would remove such a folder are noted.
clean_as_boot() {
command -v systemd-tmpfiles || return 0
needed_folders >"$guard/needed"
for clean_file in /etc/tmpfiles.d/*.conf; do
[ -e "$clean_file" ] || continue
cmp -s "/etc/.labrun-tree/${clean_file#/etc/}" "$clean_file" || cat "$clean_file"
done | awk -v home="$needed_home" -v noted="$guard/hiding" '
FNR == NR { needed[$1] = 1; next }
/^[ \t]*(#|$)/ { next }
{
    kind = substr($1, 1, 1); path = $2; gsub(/"/, "", path); gsub(/%%/, "%", path)
    stem = path; sub(/[*?[].*/, "", stem)
    inside = index(path, "/etc/") == 1 || index(path, "/root/.ssh") == 1 || index(path, home "/.ssh") == 1
    if (!inside && kind ~ /[rRD]/) {
        for (folder in needed) if (path == folder || (stem != path && index(folder, stem) == 1))
            { print "tmpfiles.d would remove " path >>noted; break }
        next
    }
    if (inside || (path in needed && kind ~ /[zmdev]/)) { print; next }
    # Of a whole tree only the folder itself: the rest could not be restored.
    if (path in needed && kind == "Z") { $1 = "z" substr($1, 2); print }
}' "$guard/needed" - >"$guard/tmpfiles.conf"
[ ! -s "$guard/tmpfiles.conf" ] || timeout 30 systemd-tmpfiles --boot --remove --create "$guard/tmpfiles.conf"
}
