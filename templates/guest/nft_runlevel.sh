# Enable labrun's table in the runlevel of the network, the first one where that is not known.
nft_level=sysinit
for nft_each in networking labrun-guard; do
[ ! -h "/etc/runlevels/boot/$nft_each" ] || nft_level=boot
done
rm -f /etc/runlevels/sysinit/labrun-nftables /etc/runlevels/boot/labrun-nftables
ln -s /etc/init.d/labrun-nftables "/etc/runlevels/$nft_level/labrun-nftables"
