"""The Python API: what `import labrun` offers, on top of the commands."""
