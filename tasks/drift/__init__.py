"""Whether a lab still matches: what was last applied, what the file asks for, what is there."""
