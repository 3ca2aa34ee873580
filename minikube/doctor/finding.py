"""What a look at the machine found (floor 3): the shape alone, so that who only shows it imports nothing of weight."""

from typing import Literal

from msgspec import Struct


class Finding(Struct, frozen=True):
    """`doctor`: one line. `fail` keeps something in the manifest from running, `warn` makes it run worse or is odd."""

    check: str
    status: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""
    """What to do; empty for what is `ok`."""


def ok(check: str, found: str) -> Finding:
    return Finding(check, "ok", found)
