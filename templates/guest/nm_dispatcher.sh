# Name the scripts that NetworkManager runs whenever a NIC comes up, without a process. Needs frames.
# What packages put there is left out.
for each in /etc/NetworkManager/dispatcher.d/* /etc/NetworkManager/dispatcher.d/pre-up.d/*; do
case ${each##*/} in cloud-init-* | *ifupdown | *chrony* | *ntp* | *dhclient* | *resolv* | hook-network-manager) continue;; esac
[ ! -f "$each" ] || [ ! -x "$each" ] || frame "dispatcher $each"
done
