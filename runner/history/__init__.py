"""What labrun remembers of its runs, in SQLite: written as they happen, read by people, deciding nothing."""
