# Wait for the end of cloud-init, then report what has become of it, and the addresses. Values: tenths. Needs
# first_boot no_driver boot_state.
# cloud-init writes result.json last, in /run, so the file is from this boot.
# Once the boot is over, a cloud-init that is not done will not be: it failed, or nothing starts it.
booted() {
[ $((turns % 10)) -eq 9 ] || return 1
case $(boot_state 2>/dev/null) in running | degraded | maintenance) return 0 ;; esac
return 1
}
turns=0
until [ -e /run/cloud-init/result.json ] || [ "$tenths" -le 0 ] || booted; do
turns=$((turns + 1)) tenths=$((tenths - 2)); sleep 0.2
done
# Power that is lost soon would take what the first boot wrote, sshd's keys too. Containers have no disk of their own.
[ ! -b /dev/vda ] || sync
first_boot
for file in /proc/sys/net/ipv6/conf/*/disable_ipv6; do
read -r off <"$file" 2>/dev/null || continue
[ "$off" = 0 ] || echo "ipv6-off $file"
done
no_driver
echo '==addresses=='
ip -d -j address
