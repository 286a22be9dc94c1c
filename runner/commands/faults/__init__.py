"""`labrun break`, its hints, and `labrun mend`."""
