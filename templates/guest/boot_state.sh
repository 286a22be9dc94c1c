# How far the boot is, in the words of `systemctl is-system-running`. Defines: boot_state by_openrc.
by_openrc() { [ ! -d /run/systemd/system ] && [ -d /etc/runlevels ]; }
boot_state() {
by_openrc || { timeout 2 systemctl is-system-running; return; }
boot_level=
{ read -r boot_level || [ "$boot_level" ]; } 2>/dev/null </run/openrc/softlevel
# Its own marks of a change from one runlevel to the next, which boot and shutdown consist of.
case $boot_level in
"") echo initializing ;;
shutdown | off | reboot) echo stopping ;;
recovery | single | nonetwork) echo maintenance ;;
sysinit | boot) echo starting ;;
*) if [ -e /run/openrc/rc.starting ] || [ -e /run/openrc/rc.stopping ]; then echo starting; else echo running; fi ;;
esac
}
