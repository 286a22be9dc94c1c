# What the units that a login needs want started with them, one name a line. OpenRC has told that already, in the file of
# the guard that the argument names.
needs_state() {
if by_runlevels; then sed -n 's/^Needs=//p' "$guard/${1:-vital}" | tr ' ' '\n' | sed '/^$/d' | LC_ALL=C sort -u; return; fi
systemctl show --property=Requires,Requisite,BindsTo,Wants --value -- sysinit.target basic.target ssh.service sshd.service ssh.socket sshd.socket \
NetworkManager.service systemd-networkd.service dbus.service systemd-logind.service systemd-user-sessions.service 2>/dev/null |
tr ' ' '\n' | LC_ALL=C sort -u
}

# The units that a login needs, as they are now and as the next boot would find them. Needs openrc_boot.
vital_state() {
if by_runlevels; then openrc_vital; return; fi
systemctl show --property=Id,LoadState,ActiveState,UnitFileState,ConflictedBy,WatchdogUSec,RuntimeMaxUSec -- NetworkManager.service dbus.service dbus.socket \
dbus-broker.service ssh.service sshd.service ssh.socket sshd.socket systemd-networkd.service networking.service \
systemd-logind.service systemd-user-sessions.service sysinit.target basic.target multi-user.target \
local-fs.target systemd-udevd.service systemd-udev-trigger.service
printf '\nId=default.target\nTarget=%s\n' "$(systemctl get-default)"
}
