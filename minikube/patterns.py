"""Regular expressions of users, in RE2's syntax: matching takes time linear in the text, whatever the pattern.

Look-around and back-references, which RE2 does not have, are refused with RE2's own message.
"""

from typing import Any

from minikube.text import printable


def compile_pattern(text: str) -> Any:
    """Return a pattern that searches bytes. Raises ValueError with RE2's message."""
    import re2  # late: it costs 30 ms

    options = re2.Options()
    options.log_errors = False
    try:
        return re2.compile(text.encode("utf-8", "replace"), options)
    except re2.error as error:
        why = error.args[0] if error.args else error
        raise ValueError(printable(why.decode("utf-8", "replace") if isinstance(why, bytes) else str(why))) from None
