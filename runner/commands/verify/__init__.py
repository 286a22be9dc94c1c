"""`labrun verify`: the command, a single pair, offline expectations, and additional outputs."""
