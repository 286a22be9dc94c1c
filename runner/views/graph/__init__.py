"""The drawings of a lab, one module a format."""
