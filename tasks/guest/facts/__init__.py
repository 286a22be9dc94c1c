"""The facts that can be read from a guest: one module per fact, with its probe and its parser.

``PROBE`` (or a function ``probe(...)`` if the question depends on the spec) is what a gather runs; a gather
is a set of probes, so a fact that two resources need is read once. The function named after the fact takes
:class:`labrun.tasks.guest.shell.Facts` and returns a frozen value. Output that the program never prints
raises UnreadableError; a command that failed raises CommandError with its message.
"""
