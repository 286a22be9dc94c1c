"""A NIC of this machine in a bridge, without cutting off whoever is logged in over it."""
