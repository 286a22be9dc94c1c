# Give an armed guard the list of the packages installed before. Values: guard. Needs package_list.
[ ! -d "$guard" ] || package_list >"$guard/listed"
