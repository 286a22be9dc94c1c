"""What people and other tools see of results: tables, matrices, diffs, Markdown, JUnit, drawings."""
