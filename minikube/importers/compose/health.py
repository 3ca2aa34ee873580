"""`healthcheck`: whether a service is well."""

import re

from minikube.importers.compose.draft import ServiceDraft
from minikube.importers.yaml_nodes import Entry, Items, Scalar, Table

CHECK_DEFAULTS = {"interval": "30s", "timeout": "30s", "failures": 3, "timeouts": 3, "start_period": "0s"}
"""Those of Compose, which are not a manifest's."""

_SEVERAL = re.compile(r"[;\n]")

MOST_RETRIES = 1_000_000


def read_healthcheck(draft: ServiceDraft, entry: Entry) -> None:
    """Read `healthcheck`; its defaults are written out, as a manifest's are shorter. None at all, or disabled: no check."""
    settings = draft.entries(entry, "healthcheck")
    if not is_checked(entry):
        if settings and "test" not in settings and "disable" not in settings:
            draft.refuse(
                entry.span, "healthcheck", "has no test: an image's own is not used — add health with a command"
            )
        return
    command = _test(draft, settings["test"])
    if not command:
        return
    health: dict[str, object] = {**command, **CHECK_DEFAULTS}
    for key in ("interval", "timeout", "start_period"):
        text = draft.duration(settings[key], f"healthcheck.{key}", "health", key) if key in settings else None
        if text and (key == "start_period" or _is_positive(text)):
            health[key] = text
    if "retries" in settings:
        number = draft.number(settings["retries"].value, "healthcheck.retries", 0, MOST_RETRIES)
        if number:
            health |= {"failures": number, "timeouts": number}
    if "start_interval" in settings:
        note = "checks before the first pass come after 0.25s, then each second"
        draft.inexact(settings["start_interval"].span, "healthcheck.start_interval", note, "health")
    known = ("test", "interval", "timeout", "start_period", "retries", "start_interval", "disable")
    draft.refuse_unknown(settings, "healthcheck", known)
    draft.out["health"] = health


def _is_positive(text: str) -> bool:
    """Return whether a duration is no zero, for which Compose takes its default."""
    return "$" in text or re.search(r"[1-9]", text) is not None


def is_checked(entry: Entry | None) -> bool:
    """Return whether a `healthcheck` has a test and is not disabled."""
    table = entry.value if entry else None
    if not isinstance(table, Table):
        return False
    disable, test = table.get("disable"), table.get("test")
    if isinstance(disable, Scalar) and disable.value is True:
        return False
    words = [item.text for item in test.items if isinstance(item, Scalar)] if isinstance(test, Items) else []
    if isinstance(test, Scalar):
        return bool(test.text.strip()) and test.value is not None and test.text.strip() != "NONE"
    return len(words) > 1 and words[0] in ("CMD", "CMD-SHELL") and bool(words[1].strip())


def _test(draft: ServiceDraft, entry: Entry) -> dict[str, object]:
    """Return the manifest's `command` or `shell` of a test; empty after a note."""
    key = "healthcheck.test"
    if isinstance(entry.value, Scalar):
        text = draft.text(entry.value, key, "health", "shell", later=True)
        return _lines(text) if text else {}
    words = draft.texts(entry.value, key, "health", "command", later=True)
    if not words:
        return {}
    if words[0] == "CMD-SHELL":
        if len(words) > 2:
            draft.refuse(entry.span, key, "expected one string after CMD-SHELL")
            return {}
        return _lines(words[1])
    return {"command": words[1:]}


def _lines(text: str) -> dict[str, object]:
    """Return a line for a shell. `shell` ends at the first command that fails, which a line of several must not."""
    return {"command": ["/bin/sh", "-c", text]} if _SEVERAL.search(text.strip()) else {"shell": text}
