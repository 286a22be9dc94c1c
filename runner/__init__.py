"""The click front end: one module per verb, progress, tables and exit codes."""
