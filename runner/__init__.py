"""The click front end: one module a verb, progress, tables and exit codes."""
