# What of a guest decides whether labrun can work with it, a word and its value on each line.
# shellcheck source=/dev/null
. /etc/os-release
echo "family ${ID_LIKE:-$ID}"
echo "system ${PRETTY_NAME:-$ID}"
echo "init $(cat /proc/1/comm)"
echo "cloud-init $(cloud-init --version 2>&1 | sed 's/.* //' | head -n 1)"
echo "sshd $(ssh -V 2>&1 | sed 's/[ ,].*//')"
for each in NetworkManager systemd-networkd; do
    if systemctl -q is-active "$each" 2>/dev/null; then echo "network $each"; fi
done
if command -v netplan >/dev/null 2>&1; then echo "network netplan"; fi
if command -v ifup >/dev/null 2>&1; then echo "network ifupdown"; fi
if command -v sudo >/dev/null 2>&1; then echo "root sudo"; fi
