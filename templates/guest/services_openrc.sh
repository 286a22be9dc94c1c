# Services of OpenRC, in the words of `systemctl show`. Defines: openrc_services. Needs frames.
openrc_services() {
set +f
openrc_blank=
for openrc_name; do
[ -z "$openrc_blank" ] || echo
openrc_blank=yes openrc_load=loaded openrc_file=disabled openrc_active=inactive
[ -x "/etc/init.d/$openrc_name" ] || openrc_load=not-found openrc_file=
for openrc_level in /etc/runlevels/*/"$openrc_name"; do
[ ! -e "$openrc_level" ] || openrc_file=enabled
done
# What a service says of itself finds a daemon that has died.
if [ "$openrc_load" = loaded ]; then
openrc_ended=0
rc-service --quiet --nocolor "$openrc_name" status >/dev/null 2>&1 || openrc_ended=$?
case $openrc_ended in 0) openrc_active=active;; 32) openrc_active=failed;; esac
fi
printf 'Id=%s\nLoadState=%s\nActiveState=%s\nUnitFileState=%s\n' "$openrc_name" "$openrc_load" "$openrc_active" "$openrc_file"
done
}
