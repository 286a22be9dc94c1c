# Load a ruleset, after a check of all of it. Values: text.
printf %s "$text" | nft -c -f -
printf %s "$text" | nft -f -
