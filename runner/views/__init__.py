"""Results for people and other tools: tables, matrices, diffs, Markdown, JUnit, drawings."""
