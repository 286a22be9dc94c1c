# Install packages with dnf in one transaction. Defines: install_packages.
install_packages() {
said=/run/labrun-packages
if dnf --assumeyes --quiet install "$@" >"$said" 2>&1; then return 0; fi
# A quiet dnf says it once for all, others once for each.
for name in $(sed -n 's/^No match for argument: //p; s/^Error: Unable to find a match: //p' "$said" | tr ' ' '\n' | sort -u)
do echo "$name: dnf finds no such package"; done
trouble=$(sed -n '/^Error: */{s///;/./{p;q;}}' "$said")
echo "dnf: ${trouble:-$(sed -n '/[^[:space:]]/{s/^Error: *//;p;q;}' "$said")}"
return 1
}
