"""Names of a source as names of services: DNS labels, each once. Pure."""

import re
from collections.abc import Collection, Iterable, Mapping

from minikube.model import MAX_NAME_LENGTH, to_dns_label

MANUAL_PROFILE = "manual"
"""The profile of what is started by hand: `minikube start NAME`."""

ALONE = "-alone"
"""The end of a service's name whose own name would be that of a replica."""


def service_names(names: Iterable[str], replicas: Mapping[str, int] | None = None) -> dict[str, str]:
    """Return the service's name for each name of a source, in its order. Those that are DNS labels already stay as they are.

    `replicas` are the numbers of replicas, by the names of the source: `web-2` gets another name where `web` has two.
    """
    names = list(dict.fromkeys(names))
    labels = {name: dns_label(name) for name in names}
    counts = {labels[name]: count for name, count in (replicas or {}).items() if name in labels}
    for name, label in labels.items():
        if _is_replica(label, counts):
            labels[name] = f"{label[: MAX_NAME_LENGTH - len(ALONE)]}{ALONE}"
    taken = {name for name in names if labels[name] == name}
    for name in names:
        if labels[name] != name:
            labels[name] = free_label(labels[name], taken)
            taken.add(labels[name])
    return labels


def renamed(name: str, label: str) -> str:
    """Return the text of a note on a name that became another one; empty where it stays."""
    if name == label:
        return ""
    reason = "is that of a replica" if dns_label(name) == name else "is no DNS label, which a service's name has to be"
    return f"the name {name} {reason}"


def _is_replica(label: str, counts: Mapping[str, int]) -> bool:
    match = re.fullmatch(r"(.+)-([1-9][0-9]{0,3})", label)
    return match is not None and int(match[2]) <= counts.get(match[1], 1) > 1


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
