# Ask about services. Values: properties units names. Needs frames and openrc_services.
set -f
if [ ! -d /run/systemd/system ] && command -v rc-service >/dev/null; then
frame services-by openrc
# shellcheck disable=SC2086 # they are words
capture services openrc_services $names
else
# shellcheck disable=SC2086
capture services systemctl show --property="$properties" -- $units
fi
set +f
