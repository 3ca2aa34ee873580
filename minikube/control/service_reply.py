"""The reply of the control API for one service or instance. Pure functions over the state store."""

from itertools import islice

from minikube.control.client.messages import ServiceReply
from minikube.control.client.snapshot import dependents
from minikube.control.parameters import shorten
from minikube.control.state_store import StateStore
from minikube.errors import NotFound
from minikube.model import InstanceView, ServiceView, Snapshot

MAX_EVENTS = 50


def make_service_reply(store: StateStore, name: str) -> ServiceReply:
    """Return a service with its instances, or one instance by its name or id. Raise `NotFound`.

    The reply has the service's latest events in the store, which keeps more events than a snapshot has.
    """
    snapshot = store.snapshot
    service, instances = find(snapshot, name)
    ids = {instance.id for instance in instances}
    usage = tuple(usage for usage in snapshot.usage if usage.id in ids)
    ids_and_names = ids | {instance.name for instance in instances}
    is_whole_service = service is not None and service.name == name
    matching = (
        event
        for event in reversed(store.events_since(0))
        if (event.service == name if is_whole_service else event.instance in ids_and_names)
    )
    events = tuple(islice(matching, MAX_EVENTS))[::-1]
    needed_by = tuple(dependents(snapshot.services, service.name)) if service is not None else ()
    return ServiceReply(snapshot.revision, service, instances, usage, events, needed_by)


def find(snapshot: Snapshot, name: str) -> tuple[ServiceView | None, tuple[InstanceView, ...]]:
    """Return the service `name` and all its instances, or the instances with that name or id and their service.

    The service is None for instances of a removed service. Raise `NotFound` if nothing has that name.
    """
    service = next((service for service in snapshot.services if service.name == name), None)
    if service is not None:
        return service, tuple(instance for instance in snapshot.instances if instance.service == name)
    instances = tuple(instance for instance in snapshot.instances if name in (instance.name, instance.id))
    if not instances:
        raise NotFound(f"{shorten(name)}: no such service or instance — `minikube ps` lists them")
    owners = {instance.service for instance in instances}
    return next((service for service in snapshot.services if service.name in owners), None), instances
