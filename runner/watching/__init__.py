"""Repeated drift runs: the loop, its screen, the results of the last run, and notifications."""
