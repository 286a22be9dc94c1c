"""`labrun verify`: the command, one pair, the offline answer, and where else results go."""
