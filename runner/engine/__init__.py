"""Nornir as labrun runs it: the session, the runner plugin, the rollout, results, the lab's lock."""
