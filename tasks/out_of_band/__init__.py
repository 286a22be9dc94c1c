"""Hosts that labrun cannot log in to: look inside without network and login, and say why."""
