"""The history of runs in SQLite: written as they happen, for people to read; no decision depends on it."""
