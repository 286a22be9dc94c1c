"""What the model implies: routes, paths, reachable ports, checks. Pure."""
