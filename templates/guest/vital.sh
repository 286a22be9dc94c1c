# What the units that a login needs want started with them, one name a line.
needs_state() {
systemctl show --property=Requires,Requisite,BindsTo,Wants --value -- sysinit.target basic.target ssh.service sshd.service ssh.socket sshd.socket \
NetworkManager.service systemd-networkd.service dbus.service systemd-logind.service systemd-user-sessions.service 2>/dev/null |
tr ' ' '\n' | LC_ALL=C sort -u
}

# The units that a login needs, as they are now and as the next boot would find them. OpenRC's services are named
# as units are. Needs openrc_services.
vital_state() {
if [ ! -d /run/systemd/system ] && [ -d /etc/runlevels ]; then
openrc_services NetworkManager dbus ssh sshd networking | sed 's/^Id=.*/&.service/'
return
fi
systemctl show --property=Id,LoadState,ActiveState,UnitFileState,ConflictedBy,WatchdogUSec,RuntimeMaxUSec -- NetworkManager.service dbus.service dbus.socket \
dbus-broker.service ssh.service sshd.service ssh.socket sshd.socket systemd-networkd.service networking.service \
systemd-logind.service systemd-user-sessions.service sysinit.target basic.target multi-user.target \
local-fs.target systemd-udevd.service systemd-udev-trigger.service
printf '\nId=default.target\nTarget=%s\n' "$(systemctl get-default)"
}
