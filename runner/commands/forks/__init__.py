"""`labrun fork` and `labrun drop`: a copy of the running lab beside it."""
