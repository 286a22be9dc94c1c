"""What labrun works out, against what Linux does: topologies of network namespaces."""
