# Install packages with dnf in one transaction. Defines: install_packages.
install_packages() {
said=/run/labrun-packages
if dnf --assumeyes --quiet install "$@" >"$said" 2>&1; then return 0; fi
sed -n 's/^No match for argument: \(.*\)$/\1: dnf finds no such package/p' "$said"
echo "dnf: $(sed -n '/[^[:space:]]/{s/^Error: *//;p;q}' "$said")"
return 1
}
