"""`labrun doctor`: facts of a hypervisor, read once, and one small judgement per check."""
