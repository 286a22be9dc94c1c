"""Read-only collection: addresses, routes, traceroutes."""
