# labrun's table, and whether the next boot loads it. Values: nft_link nft_table. Needs frames. Defines: nft_look.
nft_look() {
[ -L "$nft_link" ] && frame nft-at-boot
# shellcheck disable=SC2086 # family and name
if command -v nft >/dev/null; then capture nft-table nft -s list table $nft_table; else frame nft-missing; fi
}
