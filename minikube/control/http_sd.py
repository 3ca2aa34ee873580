"""`GET /v1/sd`: the passing instances in the form of Prometheus' HTTP service discovery (`http_sd_configs`).

There is one group per instance, with its address and labels. The labels `service` and `instance_id` stay on every sample. Those
that begin with `__meta_minikube_` are for relabelling, as with Prometheus' Consul discovery. Instances that do not pass
their check are never listed.
"""

import re
from collections.abc import Iterable

from msgspec import Struct

from minikube.model import CheckState, Instance

_NOT_IN_LABEL = re.compile(r"[^a-zA-Z0-9_]")

SCHEME_KEY = "metrics_scheme"
PATH_KEY = "metrics_path"
"""Keys of an instance's `meta` that tell Prometheus where its metrics are. Prometheus assumes http and /metrics."""


class TargetGroup(Struct, frozen=True):
    """Addresses with common labels: an element of the list that Prometheus' HTTP service discovery reads."""

    targets: tuple[str, ...]
    labels: dict[str, str]


def target_groups(instances: Iterable[Instance], service: str = "", tag: str = "") -> list[TargetGroup]:
    """Return the groups of the passing instances of `service` (empty: of all) that have `tag` (empty: any), sorted."""
    selected = (
        instance
        for instance in instances
        if instance.state is CheckState.PASSING and service in ("", instance.name) and (not tag or tag in instance.tags)
    )
    return [
        TargetGroup((str(instance.addr),), _labels(instance))
        for instance in sorted(selected, key=lambda instance: (instance.name, instance.uuid))
    ]


def _labels(instance: Instance) -> dict[str, str]:
    """Return the Prometheus labels of an instance; the module's docstring lists them."""
    meta = {
        f"__meta_minikube_meta_{_NOT_IN_LABEL.sub('_', key)}": value for key, value in sorted(instance.meta.items())
    }
    target = {"__scheme__": instance.meta.get(SCHEME_KEY, ""), "__metrics_path__": instance.meta.get(PATH_KEY, "")}
    # Commas on both sides of every tag, so that one regular expression finds a tag at any position.
    tags = f",{','.join(instance.tags)}," if instance.tags else ""
    return {
        "service": instance.name,
        "instance_id": instance.uuid,
        "__meta_minikube_tags": tags,
        **meta,
        **{name: value for name, value in target.items() if value},
    }
