"""`labrun history`, `show` and `diff`: the past runs of a lab."""
