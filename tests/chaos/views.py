"""Whether all views of the project say the same: what should run, the processes, what is shown, the registry, the watch and
Redis. Pure."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from minikube.model import CheckState, Instance, InstanceView, PartView, ProcessState
from tests.chaos.model import Process
from tests.chaos.project import BY_NAME


@dataclass(frozen=True)
class Views:
    """One state of the project, as each observer saw it at about the same time."""

    replicas: Mapping[str, int]
    rows: Iterable[InstanceView] = ()
    parts: Iterable[PartView] = ()
    registered: Iterable[Instance] = ()
    watched: Mapping[str, Instance] = field(default_factory=dict)
    hashes: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """Name, addr, health and uuid of each hash, by its key."""
    processes: Iterable[Process] = ()
    """The live main processes."""
    guests: Iterable[Process] = ()


def differences(views: Views) -> list[str]:
    """Return what is not as it has to be when no fault lasts; empty where all is well."""
    return [*_processes(views), *_shown(views), *_lost(views), *_registry(views)]


def _processes(views: Views) -> list[str]:
    """Each service has as many processes as it should, and no more."""
    wrong = []
    for name, wanted in views.replicas.items():
        count = sum(process.service == name for process in views.processes)
        if not BY_NAME[name].is_task and count != wanted:
            wrong.append(f"{name}: {count} processes live, {wanted} are wanted")
    return wrong


def _shown(views: Views) -> list[str]:
    """Each instance is shown as running with the pid that lives, and passes; each part is shown as well."""
    wrong = [f"{part.name} is shown as {part.state}" for part in views.parts if part.state is not ProcessState.RUNNING]
    pids = {process.pid for process in views.processes}
    guests = {guest.instance for guest in views.guests}
    for row in views.rows:
        service = BY_NAME.get(row.service)
        if service is None:
            if row.id not in guests:
                wrong.append(f"{row.name} is shown and does not live")
        elif not service.is_task:
            if row.state is not ProcessState.RUNNING or (row.check or CheckState.PASSING) is not CheckState.PASSING:
                wrong.append(f"{row.name} is {row.state}, its check {row.check}: {row.reason or row.output}")
            elif row.pid not in pids:
                wrong.append(f"{row.name} is shown with pid {row.pid}, which is dead")
    return wrong


def expected_addresses(views: Views) -> dict[str, tuple[str, int]]:
    """Return name and port by id of each entry that the registry should have."""
    services = [process for process in views.processes if process.port]
    return {process.instance: (process.service, process.port) for process in (*services, *views.guests)}


def _lost(views: Views) -> list[str]:
    """Each process that listens is registered, and each guest that was acknowledged."""
    found = {instance.uuid: instance for instance in views.registered}
    wrong = []
    for key, (name, port) in expected_addresses(views).items():
        instance = found.get(key)
        if instance is None:
            wrong.append(f"{name} {key} is not registered")
        elif (instance.name, instance.addr.Port) != (name, port):
            wrong.append(f"{name} {key} is registered as {instance.name} at port {instance.addr.Port}, not {port}")
        elif instance.state is not CheckState.PASSING:
            wrong.append(f"{name} {key} is {instance.state} in the registry: {instance.output[:80]}")
    return wrong


def _registry(views: Views) -> list[str]:
    """Registry, watch and Redis have the same entries, and none of the dead."""
    expected = expected_addresses(views)
    found = {instance.uuid: instance for instance in views.registered}
    wrong = [f"{one.name} {key} is registered and does not live" for key, one in found.items() if key not in expected]
    for key in found.keys() | views.watched.keys():
        here, there = found.get(key), views.watched.get(key)
        if here is None or there is None or (here.state, here.addr) != (there.state, there.addr):
            wrong.append(f"{key}: the registry has {_brief(here)}, the watch {_brief(there)}")
    stored = {fields.get("uuid", ""): fields for fields in views.hashes.values()}
    passing = {key: one for key, one in found.items() if one.state is CheckState.PASSING}
    for key in stored.keys() | passing.keys():
        fields, instance = stored.get(key), passing.get(key)
        if fields is None or instance is None:
            wrong.append(f"{key}: {'no hash in Redis' if fields is None else 'a hash in Redis, and it does not pass'}")
        elif (fields.get("name"), fields.get("addr")) != (instance.name, str(instance.addr)):
            wrong.append(f"{key}: Redis has {fields.get('name')} {fields.get('addr')}, the registry {instance.addr}")
    return wrong


def _brief(instance: Instance | None) -> str:
    return f"{instance.state} {instance.addr}" if instance is not None else "nothing"
