# Name the scripts that NetworkManager runs whenever a NIC comes up, without a process. Needs frames.
for each in /etc/NetworkManager/dispatcher.d/* /etc/NetworkManager/dispatcher.d/pre-up.d/*; do
[ ! -f "$each" ] || [ ! -x "$each" ] || frame "dispatcher $each"
done
