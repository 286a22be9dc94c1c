"""The command line itself: options, selection, the lab file, the report a command returns, the terminal."""
