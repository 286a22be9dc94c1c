"""The contents and the layout of a lab drawing."""
