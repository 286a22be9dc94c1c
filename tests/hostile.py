"""Texts that would break out of a script, a file or a table, and whatever else hypothesis thinks of."""

from __future__ import annotations

from hypothesis import strategies as st

__all__ = ["HOSTILE", "LINES", "TEXTS"]

HOSTILE = (
    "$(touch /tmp/was-run)",
    "`touch /tmp/was-run`",
    "'; touch /tmp/was-run; '",
    '"; touch /tmp/was-run; "',
    "a\nb\n\nc",
    "\n",
    "\ttab\tand\rreturn\r\n",
    "EOF\nEOF_\ntouch /tmp/was-run\n",
    "back\\slash \\n \\s \\; \\\\",
    "trailing backslash\\",
    "  blanks around  ",
    "-n",
    "--help",
    "-e \\x41",
    "%s%n%d",
    "#no comment",
    "[section]\nkey=value",
    "key=value;list,of\\,things;",
    "!history && || | > < & ;",
    "*?[a-z]{1,2}~",
    "${HOME} $HOME $0 $$",
    "\x1b[31mred\x1b[0m\x07\x08",
    "snow \u2603 \U0001f40d \u202e right to left \u2028 line \x85 next",
    "x" * 5000,
    "",
)
"""What a person who means harm, or a careless one, would write."""

# A NUL cannot pass through a shell; that it is refused is a test of its own.
TEXTS = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=60),
    st.text("'\"\\$`\n \t;&|<>()#%!*-=[]EOF", max_size=30),
)
"""Texts of any number of lines."""

LINES = TEXTS.map(lambda text: text.replace("\n", " "))
"""Texts of one line."""
