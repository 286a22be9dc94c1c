# Show of other profiles on the disk whether and how they compete for a NIC; their secrets stay. Values: folder.
set --
for each in "$folder"/*.nmconnection /usr/lib/NetworkManager/system-connections/*.nmconnection; do
case $each in
"$folder"/labrun-*) ;;
*) [ ! -f "$each" ] || set -- "$@" "$each";;
esac
done
# shellcheck disable=SC2016 # fields of awk
[ $# -eq 0 ] || capture rivals awk -F= 'FNR == 1 { part = ""; print "file=" FILENAME }
/^[ \t]*\[/ { part = $0; gsub(/[][ \t\r]/, "", part); next }
{ key = $1; gsub(/[ \t]/, "", key) }
part == "connection" && key ~ /^(type|id|autoconnect|autoconnect-priority|interface-name)$/ ||
part ~ /ethernet$/ && key == "mac-address" {
value = substr($0, index($0, "=") + 1); gsub(/^[ \t]+|[ \t\r]+$/, "", value); print key "=" value
}' "$@"
