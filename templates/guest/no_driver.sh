# The NICs on the buses that no driver has taken, one line each: PCI class 02, virtio device 1. Starts no process.
no_driver() {
for device in /sys/bus/pci/devices/* /sys/bus/virtio/devices/*; do
{ [ ! -e "$device/driver" ] && read -r kind <"$device/device"; } 2>/dev/null || continue
class='' vendor=''
[ ! -e "$device/class" ] || read -r class <"$device/class"
[ ! -e "$device/vendor" ] || read -r vendor <"$device/vendor"
case $class,$kind in
0x02*) echo "no-driver PCI ${vendor#0x}:${kind#0x}" ;;
,0x0001) echo 'no-driver virtio' ;;
esac
done
}
