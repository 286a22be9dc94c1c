# Apply files now that the next boot would read, so that the new login tests them too. Value: guard.
# Needs reload_sshd (sshd_reload), needs_state (vital), openrc_boot, and rehearse_boot for what a boot cleans and mounts.
if [ -d /etc/.labrun-tree ] && [ -e "$guard/armed" ]; then
is_other() {
if [ ! -e "/etc/.labrun-tree/$1" ] && [ ! -e "/etc/$1" ]; then return 1; fi
! diff -rq --no-dereference -x .labrun-kept -x labrun-guard.service -x labrun-guard "/etc/.labrun-tree/$1" "/etc/$1"
}
for each in /etc/sysctl.d/*.conf /etc/sysctl.conf; do
if [ ! -e "$each" ] || cmp -s "/etc/.labrun-tree/${each#/etc/}" "$each"; then continue; fi
# That could not be taken back: it is judged by what the file says.
if grep -q modules_disabled "$each"; then sed /modules_disabled/d "$each" | sysctl -q -e -p -
else sysctl -q -e -p "$each"; fi
done
if sshd -t; then reload_sshd; fi
rm -f /run/labrun-sshd-reload
if [ -d /run/systemd/system ]; then
every=
for each in system.conf system.conf.d system/service.d; do
if is_other "systemd/$each"; then every=yes; fi
done
if is_other systemd || is_other fstab; then
timeout 30 systemctl daemon-reload
# What a login needs from now on has to start now: the next boot would wait for it, or fail with it.
needs_state >"$guard/needs-now"
LC_ALL=C comm -13 "$guard/needs" "$guard/needs-now" | while IFS= read -r unit; do
timeout 30 systemctl start "$unit" || echo "$unit" >>"$guard/needs-failed"
done
note_mounts
fi
# A unit that would be another one, or start with other words or limits, is started as that, so that the new
# login tests it.
for each in NetworkManager.service "ssh.service sshd.service"; do
other=$every
for unit in $each; do
if is_other "systemd/system/$unit" || is_other "systemd/system/$unit.d"; then other=yes; fi
for file in $(systemctl show --property=EnvironmentFiles --value "$unit" | sed -n 's,^/etc/\([^ ]*\).*,\1,p'); do
if is_other "$file"; then other=yes; fi
done
done
[ -z "$other" ] || for name in $each; do
systemctl is-active --quiet "$name" || continue
echo "$name" >>"$guard/rehearsed"
timeout 60 systemctl restart "$name"
break
done
done
elif by_runlevels; then rehearse_openrc
fi
# Rules for devices apply when a device comes: once more, to the NICs.
link_files() { cat "$1"/systemd/network/*.link | cksum; }
if [ -S /run/udev/control ] && { is_other udev || [ "$(link_files /etc/.labrun-tree)" != "$(link_files /etc)" ]; }; then
: >"$guard/plugged"
udevadm control --reload
timeout 30 udevadm trigger --settle --action=add --subsystem-match=net
fi
run_scripts
# Profiles of files that it would not find, or not take, at its next start.
if is_other NetworkManager/system-connections || [ -n "$(find /run/NetworkManager/system-connections -newer "$guard/owner")" ]; then
: >"$guard/reloaded"
timeout 20 nmcli connection reload
fi
clean_as_boot
fi >/dev/null 2>&1 </dev/null
