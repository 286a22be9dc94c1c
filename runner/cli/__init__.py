"""The command line: options, host selection, the lab file, a command's report, the terminal."""
