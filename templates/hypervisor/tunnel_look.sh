# On a hypervisor: its VXLAN devices and their forwarding entries as JSON, and labrun's rules for them.
ip -j -d link show type vxlan
echo
echo @
bridge -j fdb show
echo
echo @
if command -v nft >/dev/null; then echo yes; nft -s list ruleset inet 2>/dev/null | grep labrun-rule; fi
:
