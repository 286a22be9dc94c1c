# Name the VLANs that files of netplan define, without what else they say. Needs frames.
[ ! -d /etc/netplan ] || capture netplan-vlans grep -HsE '^ +"?vlan[0-9-]+"?:' /etc/netplan/*.yaml
