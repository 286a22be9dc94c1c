"""What can be read of a guest: one module a fact, with what asks for it and what parses the answer.

``PROBE`` (or a function ``probe(...)`` where the question depends on what is wanted) is what a gather asks;
a gather is a set of such probes, so two that want the same fact ask for it once. The function named after the
fact takes :class:`labrun.tasks.guest.shell.Facts` and returns a frozen value. An answer that is not what the
program prints raises UnreadableError; one that failed raises CommandError with what it said.
"""
