"""The drawings of a lab, one module per format."""
