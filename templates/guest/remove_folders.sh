# Remove folders that are empty, except for the copies that a guard keeps in them. Values: guard. Defines: remove_folders.
remove_folders() {
for each; do
rmdir "$each" 2>/dev/null || [ ! -d "$guard" ] || echo "$each" >>"$guard/emptied"
done
}
