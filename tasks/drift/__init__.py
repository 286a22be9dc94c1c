"""Whether a lab is still as it was made: what was last applied, what the file asks, what is there."""
