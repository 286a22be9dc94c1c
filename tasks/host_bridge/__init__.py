"""A NIC of this machine in a bridge, without cutting off anyone who is logged in over it."""
