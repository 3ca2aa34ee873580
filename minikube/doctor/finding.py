"""The result of one check of `minikube doctor`. Few imports: `minikube schema` shows its shape without running checks."""

from typing import Literal

from msgspec import Struct


class Finding(Struct, frozen=True):
    """One line of `minikube doctor`.

    `fail`: something in the manifest cannot run. `warn`: it runs worse, or something is unusual.
    """

    check: str
    status: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""
    """What to do; empty for `ok`."""


def ok(check: str, found: str) -> Finding:
    """Return the finding of a check that is in order."""
    return Finding(check, "ok", found)
