"""Hosts that do not let labrun in: look inside without network and login, and say why."""
