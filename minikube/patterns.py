"""Patterns that somebody else wrote (floor 0): RE2's, matched in time that grows with the text, whatever the pattern.

What RE2 leaves out for that (look-around, back-references) is refused with its word for it. It is imported when the first
pattern comes: it costs 30 ms.
"""

from typing import Any

from minikube.text import printable


def compile_pattern(text: str) -> Any:
    """A pattern to `search` bytes with. Raises ValueError in RE2's words."""
    import re2

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text.encode("utf-8", "replace"), options)
    except re2.error as error:
        why = error.args[0] if error.args else error
        raise ValueError(printable(why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why))) from None
