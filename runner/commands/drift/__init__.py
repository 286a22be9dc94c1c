"""`labrun drift`: the command, and what `--fix` does."""
