"""The result of one check of `minikube doctor`. Few imports: `minikube schema` shows its fields without running checks."""

from typing import Literal

from msgspec import Struct


class Finding(Struct, frozen=True):
    """The result of one check: one line of `minikube doctor`.

    `fail`: something in the manifest cannot run. `warn`: it runs with a limitation, or something is unusual. `found` says
    what the check found.
    """

    check: str
    status: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""
    """What to do; empty for `ok`."""


def ok(check: str, found: str) -> Finding:
    """Return the finding of a check that passed, with the text `found`."""
    return Finding(check, "ok", found)
