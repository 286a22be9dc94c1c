"""Derive what the model implies: routes, paths, reachable ports and checks. Pure functions."""
