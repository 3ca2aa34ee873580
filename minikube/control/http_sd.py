"""`GET /v1/sd` (floor 3, pure): what passes, in the form that Prometheus' `http_sd_configs` reads.

One group an instance: its address, and labels. `service` and `instance_id` stay on every sample; those that begin with
`__meta_minikube_` are for relabelling, as with Consul's discovery. It refuses to list what does not pass.
"""

import re
from collections.abc import Iterable

from msgspec import Struct

from minikube.model import CheckState, Instance

_ODD = re.compile(r"[^a-zA-Z0-9_]")

SCHEME = "metrics_scheme"
PATH = "metrics_path"
"""Keys of `meta` that tell Prometheus where an instance's own metrics are; it assumes http and /metrics."""


class TargetGroup(Struct, frozen=True):
    """One element of Prometheus' list."""

    targets: tuple[str, ...]
    labels: dict[str, str]


def target_groups(instances: Iterable[Instance], service: str = "", tag: str = "") -> list[TargetGroup]:
    """Passing instances of a service (or of all) that have the tag (or any), in a stable order."""
    chosen = (
        one
        for one in instances
        if one.state is CheckState.PASSING and service in ("", one.name) and (not tag or tag in one.tags)
    )
    return [TargetGroup((str(one.addr),), _labels(one)) for one in sorted(chosen, key=lambda one: (one.name, one.uuid))]


def _labels(one: Instance) -> dict[str, str]:
    meta = {f"__meta_minikube_meta_{_ODD.sub('_', key)}": value for key, value in sorted(one.meta.items())}
    places = {"__scheme__": one.meta.get(SCHEME, ""), "__metrics_path__": one.meta.get(PATH, "")}
    # Commas round every tag, so that one regular expression finds it wherever it stands.
    tags = f",{','.join(one.tags)}," if one.tags else ""
    return {
        "service": one.name,
        "instance_id": one.uuid,
        "__meta_minikube_tags": tags,
        **meta,
        **{name: value for name, value in places.items() if value},
    }
