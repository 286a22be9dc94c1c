# labrun's table, and whether the next boot loads it. Values: nft_links nft_table. Needs frames. Defines: nft_look.
nft_look() {
for nft_link in $nft_links; do
[ ! -L "$nft_link" ] || frame nft-at-boot
done
[ -d /run/systemd/system ] || [ ! -d /etc/runlevels ] || frame nft-by-openrc
# shellcheck disable=SC2086 # family and name
if command -v nft >/dev/null; then capture nft-table nft -s list table $nft_table; else frame nft-missing; fi
}
