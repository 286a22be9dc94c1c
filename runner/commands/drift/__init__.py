"""`labrun drift`: the command, and the corrections of `--fix`."""
