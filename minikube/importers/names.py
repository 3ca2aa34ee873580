"""Names of a source as names of services: DNS labels, each once. Pure."""

from collections.abc import Collection, Iterable

from minikube.model import MAX_NAME_LENGTH, to_dns_label

NO_LABEL = "is no DNS label, which a service's name has to be"
"""The end of a note on a name that had to change, behind `the name X`."""

MANUAL_PROFILE = "manual"
"""The profile of what is started by hand: `minikube start NAME`."""


def service_names(names: Iterable[str]) -> dict[str, str]:
    """Return the service's name for each name of a source, in its order. Those that are DNS labels already stay as they are."""
    names = list(dict.fromkeys(names))
    labels = {name: dns_label(name) for name in names}
    taken = {name for name in names if labels[name] == name}
    for name in names:
        if labels[name] != name:
            labels[name] = free_label(labels[name], taken)
            taken.add(labels[name])
    return labels


def dns_label(name: str) -> str:
    """Return a name as a DNS label: `Web_Server` is `web-server`. A name without letters and digits is `service`."""
    return to_dns_label(name) or "service"


def free_label(label: str, taken: Collection[str]) -> str:
    """Return the label, with a number at its end where it is taken."""
    candidate, number = label, 1
    while candidate in taken:
        number += 1
        candidate = f"{label[: MAX_NAME_LENGTH - len(str(number)) - 1]}-{number}"
    return candidate
