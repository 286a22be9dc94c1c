"""Drift again and again: the loop, its screen, what the last run found, and who is notified."""
