"""`depends_on` and `links`: what starts before a service."""

from collections.abc import Mapping

from minikube.importers.compose.draft import ServiceDraft
from minikube.importers.result import Span
from minikube.importers.yaml_nodes import Entry, Items, Scalar, Table

CONDITIONS = {
    "service_started": "started",
    "service_healthy": "healthy",
    "service_completed_successfully": "completed",
}


def read_depends_on(draft: ServiceDraft, entry: Entry) -> None:
    """Read `depends_on`, a table after `normalize_service`; a name alone means started."""
    for name, item in draft.entries(entry, "depends_on").items():
        key = f"depends_on.{name}"
        settings = draft.entries(item, key)
        needed = _needed(draft, name, item, key)
        if needed is None:
            continue
        condition = "started"
        if "condition" in settings:
            text = draft.text(settings["condition"].value, f"{key}.condition")
            if text not in CONDITIONS:
                draft.refuse(
                    settings["condition"].span, f"{key}.condition", f"expected {', '.join(CONDITIONS)}; it is started"
                )
            condition = CONDITIONS.get(text or "", "started")
        if condition == "healthy" and name not in draft.names.checked:
            note = f"{needed} has no healthcheck in this file, and an image's own is not used — add services.{needed}.health"
            draft.inexact(item.span, key, note, "depends_on", needed)
            condition = "started"
        if "restart" in settings and draft.flag(settings["restart"], f"{key}.restart"):
            note = f"is not restarted with {needed} — `minikube restart` both"
            draft.inexact(settings["restart"].span, f"{key}.restart", note, "depends_on", needed)
        optional = "required" in settings and not draft.flag(settings["required"], f"{key}.required")
        draft.refuse_unknown(settings, key, ("condition", "restart", "required"))
        depends_on = draft.out.setdefault("depends_on", {})
        depends_on[needed] = {"condition": condition, "required": False} if optional else condition


def _needed(draft: ServiceDraft, name: str, item: Entry, key: str) -> str | None:
    """Return the manifest's name of a service that is waited for; None after a note."""
    needed = draft.names.services.get(name)
    if needed is not None and needed != draft.name:
        return needed
    draft.refuse(
        item.span, key, "a service cannot wait for itself" if needed else "there is no such service in this file"
    )
    return None


def read_links(draft: ServiceDraft, entry: Entry) -> None:
    """Read `links`: what is linked starts first. All names are found without them; `link_aliases` has other names."""
    for item in entry.value.items if isinstance(entry.value, Items) else ():
        text = draft.text(item, "links")
        if not text:
            continue
        if (needed := _needed(draft, text.partition(":")[0], Entry(item.span, item), "links")) is not None:
            draft.out.setdefault("depends_on", {}).setdefault(needed, "started")


def read_volumes_from(draft: ServiceDraft, entry: Entry) -> None:
    """Leave out `volumes_from`; what it names starts first, as in Compose."""
    for item in entry.value.items if isinstance(entry.value, Items) else ():
        name = item.text.partition(":")[0] if isinstance(item, Scalar) else ""
        needed = draft.names.services.get(name)
        if needed and needed != draft.name:
            draft.out.setdefault("depends_on", {}).setdefault(needed, "started")
    draft.refuse(entry.span, "volumes_from", "mounts are not taken from another service — repeat its volumes")


def link_aliases(services: Mapping[str, Table]) -> dict[str, list[tuple[str, Span]]]:
    """Return, by the name of a service, the other names that `links` give it."""
    found: dict[str, list[tuple[str, Span]]] = {}
    for table in services.values():
        links = table.get("links")
        for item in links.items if isinstance(links, Items) else ():
            name, _, alias = item.text.partition(":") if isinstance(item, Scalar) else ("", "", "")
            if alias and alias != name:
                found.setdefault(name, []).append((alias, item.span))
    return found
