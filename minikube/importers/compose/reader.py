"""The table of all keys of a Compose service, and the whole file."""

import re
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from minikube.importers.compose import dependencies, engine, health, lifecycle, network, ports, resources, run, volumes
from minikube.importers.compose.draft import ProjectNames, ServiceDraft
from minikube.importers.compose.files import ComposeModel, ComposeProject
from minikube.importers.compose.variables import rewrite
from minikube.importers.detect import Found
from minikube.importers.names import service_names
from minikube.importers.result import Imported, Notes, Span
from minikube.importers.source import Destination, place_error
from minikube.importers.yaml_nodes import Entry, Scalar, Table
from minikube.manifest.load import default_name
from minikube.manifest.validate import find_cycles
from minikube.model import NAME_PATTERN, to_dns_label

KeyReader = Callable[[ServiceDraft, Entry], None]

READERS: Mapping[str, KeyReader] = {
    # What later readers look at comes first: replicas for ports.
    "scale": resources.read_scale,
    "deploy": resources.read_deploy,
    "image": run.read_image,
    "build": run.read_build,
    "entrypoint": run.read_entrypoint,
    "command": run.read_command,
    "environment": run.read_environment,
    "env_file": run.read_env_file,
    "working_dir": run.read_working_dir,
    "user": run.read_user,
    "init": run.read_init,
    "pull_policy": run.read_pull_policy,
    "depends_on": dependencies.read_depends_on,
    "links": dependencies.read_links,
    "volumes_from": dependencies.read_volumes_from,
    "healthcheck": health.read_healthcheck,
    "restart": lifecycle.read_restart,
    "stop_signal": lifecycle.read_stop_signal,
    "stop_grace_period": lifecycle.read_stop_grace_period,
    "pre_stop": lifecycle.read_pre_stop,
    "logging": lifecycle.read_logging,
    "profiles": lifecycle.read_profiles,
    "develop": lifecycle.read_develop,
    "ports": ports.read_ports,
    "expose": ports.read_expose,
    "volumes": volumes.read_volumes,
    "tmpfs": volumes.read_tmpfs,
    "network_mode": network.read_network_mode,
    "networks": network.read_networks,
    "extra_hosts": network.read_extra_hosts,
    "container_name": network.read_container_name,
    "mem_limit": resources.read_memory,
    "cpus": resources.read_cpus,
    "pids_limit": resources.read_pids,
    "ulimits": resources.read_ulimits,
    "secrets": partial(engine.read_files, key="secrets"),
    "configs": partial(engine.read_files, key="configs"),
    "gpus": engine.read_gpus,
    "attach": engine.read_attach,
    **{key: partial(engine.read_value, key=key) for key in engine.VALUES},
    **{key: partial(engine.read_flag, key=key) for key in engine.FLAGS},
    **{key: partial(engine.read_list, key=key) for key in engine.LISTS},
    **{key: partial(engine.read_pairs, key=key) for key in engine.PAIRS},
    "stdin_open": engine.read_stdin_open,
    "tty": engine.read_tty,
}
"""By the key of a Compose service the function that reads it, in the order in which they are called."""


def read(found: Found, destination: Destination) -> Imported:
    """Read a Compose file with all that belongs to it. Raises UsageError where there is nothing to import."""
    notes = Notes()
    project = ComposeProject(found, destination, notes)
    model = project.load()
    main = next(iter(project.sources.values())).name
    services = _read_services(project, model)
    if not services:
        raise project.nothing()
    _drop_missing(services, notes, main)
    for cycle in find_cycles({name: tuple(service.get("depends_on", ())) for name, service in services.items()}):
        labels = service_names(name for name, entry in model.services.items() if isinstance(entry.value, Table))
        span = next(model.services[name].span for name, label in labels.items() if label == cycle[0])
        raise place_error(span, f"depends_on goes in a circle: {' → '.join((*cycle, cycle[0]))}")
    _read_top(model, notes)
    _note_dotenv(project, main)
    name = _project_name(project, model)
    if not name and destination.moves:
        name = default_name(destination.source_dir)
    return Imported("Compose", tuple(project.sources.values()), services, name, notes=notes.in_order())


def _read_services(project: ComposeProject, model: ComposeModel) -> dict[str, dict[str, Any]]:
    """Return the services of the manifest that run something, by name."""
    names = _names(project, model)
    services: dict[str, dict[str, Any]] = {}
    for source_name, entry in model.services.items():
        if isinstance(entry.value, Table):
            draft = ServiceDraft(project, names, source_name, entry)
            read_service(draft)
            if draft.out.keys() & {"image", "build"}:
                services[draft.name] = draft.out
    return services


def read_service(draft: ServiceDraft) -> None:
    """Read all keys of a service into its draft."""
    if draft.name != draft.source_name:
        here = Span(draft.span.file, draft.span.line, draft.span.line)
        draft.inexact(here, "name", f"the name {draft.source_name} is no DNS label, and stays a host name")
        network.add_alias(draft, here, "name", draft.source_name)
    for alias, span in draft.names.aliases.get(draft.source_name, ()):
        network.add_alias(draft, span, "links", alias, "a link's name is one for all services")
    entries = draft.table.entries
    for key, reader in READERS.items():
        if draft.has(key):
            reader(draft, entries[key])
    for key, entry in entries.items():
        if key not in READERS and not key.startswith("x-"):
            engine.read_refused(draft, entry, key)
    lifecycle.finish_restart(draft)
    if not draft.out.keys() & {"image", "build"}:
        reason = "has neither an image nor a build that can be taken, so it is left out"
        draft.project.notes.refuse(draft.span, f"services.{draft.source_name}", reason)


def _names(project: ComposeProject, model: ComposeModel) -> ProjectNames:
    services = {name: entry.value for name, entry in model.services.items() if isinstance(entry.value, Table)}
    checked = frozenset(name for name, table in services.items() if health.is_checked(table.entries.get("healthcheck")))
    memberships = {
        frozenset(networks.entries) if isinstance(networks := table.get("networks"), Table) else frozenset({"default"})
        for table in services.values()
        if not table.entries.get("network_mode")
    }
    one_network = len(memberships) < 2 and all(len(found) < 2 for found in memberships)
    labels = service_names(services)
    aliases = dependencies.link_aliases(services)
    return ProjectNames(labels, checked, aliases, model.sections, _compose_name(project, model), one_network)


def _compose_name(project: ComposeProject, model: ComposeModel) -> str:
    """Return the name that Compose gives the project: that of `.env`, of the file, or of the directory."""
    node = model.top["name"].value if "name" in model.top else None
    named = project.dotenv.get("COMPOSE_PROJECT_NAME") or (node.text if isinstance(node, Scalar) else "")
    if not named or "$" in named:
        named = project.destination.source_dir.name
    return re.sub(r"[^a-z0-9_-]", "", named.lower()).lstrip("_-") or "PROJECT"


def _drop_missing(services: dict[str, dict[str, Any]], notes: Notes, file: str) -> None:
    """Remove dependencies on services that were left out."""
    for name, service in services.items():
        needs: dict[str, Any] = service.get("depends_on", {})
        for needed in [needed for needed in needs if needed not in services]:
            del needs[needed]
            notes.refuse(Span(file, 0, 0), f"services.{name}.depends_on", f"{needed} is left out, and not waited for")
        if "depends_on" in service and not needs:
            del service["depends_on"]


def _project_name(project: ComposeProject, model: ComposeModel) -> str:
    """Return the name of the project; empty for that of its directory."""
    if re.fullmatch(NAME_PATTERN, project.dotenv.get("COMPOSE_PROJECT_NAME", "")):
        return project.dotenv["COMPOSE_PROJECT_NAME"]
    entry = model.top.get("name")
    if entry is None or not isinstance(entry.value, Scalar) or not entry.value.text:
        return ""
    found = rewrite(entry.value.text, later=False)
    if found.problem:
        project.notes.refuse(entry.span, "name", found.problem)
        return ""
    if "${" in found.text or re.fullmatch(NAME_PATTERN, found.text):
        return found.text
    if label := to_dns_label(found.text):
        project.notes.inexact(entry.span, "name", ("name",), "a project's name is a DNS label")
    else:
        project.notes.refuse(entry.span, "name", "a project's name is a DNS label — the directory's name is used")
    return label


def _note_dotenv(project: ComposeProject, main: str) -> None:
    """Add notes on what Compose reads from `.env` and a manifest does not."""
    nowhere = Span(main, 0, 0)
    if project.destination.moves and project.dotenv:
        text = "variables are read from .env beside the manifest — copy it there"
        project.notes.inexact(nowhere, ".env", (), text)
    if project.dotenv.get("COMPOSE_PROFILES"):
        text = "COMPOSE_PROFILES does not choose profiles — `up --profile NAME` or MINIKUBE_PROFILES does"
        project.notes.inexact(nowhere, ".env", (), text)


def _read_top(model: ComposeModel, notes: Notes) -> None:
    """Add notes on the parts of the file that are no services."""
    for key, entry in model.top.items():
        if key not in ("name", "version") and not key.startswith("x-"):
            notes.refuse(entry.span, key, "is no key of a Compose file that is known here")
    for section in ("secrets", "configs", "models"):
        for name, entry in model.sections[section].items():
            notes.refuse(entry.span, f"{section}.{name}", f"a manifest has no {section}: see what each service needs")
    network.read_network_section(model.sections["networks"], notes)
    volumes.read_volume_section(model.sections["volumes"], notes)
