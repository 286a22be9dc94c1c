"""Labs of a size that no ordinary run of the tests should have: `make test-scale`."""
