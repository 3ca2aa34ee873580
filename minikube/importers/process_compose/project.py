"""The reader of process-compose's files: one file, what it extends, and the override file beside it.

Files are merged as process-compose does it: tables merge, `environment` by its names, other lists are joined. A process that
`extends` another one is written out whole. Processes that put themselves into the background are left out.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from minikube.errors import UsageError
from minikube.importers.detect import Found
from minikube.importers.manifest_text import port_number
from minikube.importers.names import dns_label, renamed, service_names
from minikube.importers.process_compose.lifecycle import TOOL
from minikube.importers.process_compose.probes import LOCAL_HOSTS
from minikube.importers.process_compose.service import (
    Project,
    Service,
    environment,
    is_deferred,
    template_variables,
)
from minikube.importers.process_compose.text import TemplateError, Texts
from minikube.importers.result import Imported, Notes, SourceFile
from minikube.importers.source import Destination, place_error, read_source, real_path, source_file
from minikube.importers.table_keys import TableKeys, scalar_text
from minikube.importers.yaml_nodes import Entry, Items, Node, Scalar, Table, parse_yaml
from minikube.manifest.validate import MAX_REPLICAS
from minikube.manifest.variables.shared import LISTEN_VARIABLES

DEFAULT_NAMES = ("process-compose.yml", "process-compose.yaml")
OVERRIDE_NAMES = ("process-compose.override.yml", "process-compose.override.yaml")
MOST_FILES = 20
MOST_EXTENDS = 50
"""The longest chain of processes of which each extends the next."""
_VARIABLE = re.compile(r"\$\{([A-Za-z_][A-Za-z0-9_]*)(?::?-[0-9]{1,5})?\}")

LEFT_OUT = {
    "version": "a manifest has no version",
    "log_location": "the supervisor's log is .minikube/logs/supervisor.log",
    "log_level": "the dashboard and `minikube logs` choose what they show",
    "log_length": "the dashboard and `minikube logs` choose what they show",
    "log_configuration": "each service has its log in .minikube/logs — see logs in its table",
    "log_format": "each line has its time and stream",
    "is_strict": "unknown keys are always errors",
    "is_tui_disabled": "`minikube up --plain` opens no dashboard",
    "ordered_shutdown": "services always stop in the reverse order of their dependencies",
    "env_cmds": "no command makes variables — write shell in the service: export NAME=$(command) in its first line",
    "mcp_server": "there is no MCP server for processes",
    "file_names": "is written by process-compose itself",
    "env_file_names": "is written by process-compose itself",
    "dot_env_vars": "is written by process-compose itself",
}


def read(found: Found, destination: Destination) -> Imported:
    """Return the import of a file with what it extends. Raises UsageError where a file cannot be read."""
    notes = Notes()
    files = _Files(destination)
    root = files.load(found.path, ())
    if not found.named:
        for name in OVERRIDE_NAMES:
            if (found.path.parent / name).is_file():
                root = _merged(root, files.load(found.path.parent / name, ()))
                break
    top = TableKeys(root, notes, "", ())
    top.entry("extends")
    processes = _extended(top, found.path)
    texts = Texts(not top.boolean("disable_env_expansion"), template_variables(top))
    tables = {name: TableKeys(table, notes, f"processes.{name}", ()) for name, table in processes.items()}
    project, named = _project(top, tables, texts, destination)
    services: dict[str, dict[str, Any]] = {}
    for process, keys in named.items():
        service = Service(keys, project, files.base(keys)).read()
        if service is not None:
            services[project.names[process]] = service
    _drop_left_out(services, named, project)
    _settle_conditions(services, named, project)
    env = _environment(top, texts)
    name = _project_name(top)
    top.refuse_all(LEFT_OUT)
    top.finish(TOOL)
    dotenv = () if project.dotenv_each else ({"path": destination.path(".env"), "required": False},)
    return Imported(
        tool=TOOL,
        sources=tuple(files.sources),
        services=services,
        name=name,
        env=env,
        env_file=dotenv,
        notes=tuple(note for note in notes.in_order() if note.path[:1] != ("services",) or note.path[1] in services),
    )


class _Files:
    """The files that were read, the one that was asked for first."""

    def __init__(self, destination: Destination) -> None:
        self.destination = destination
        self.sources: list[SourceFile] = []
        self.directories: dict[str, str] = {}
        """The directory of each file whose processes run in it, relative to that of the first one."""

    def load(self, path: Path, below: tuple[Path, ...]) -> Table:
        """Return the content of a file, merged over the file that it extends. `below` are the files that extend it."""
        text = read_source(path)
        name = self.destination.shown(path)
        self.sources.append(source_file(name, text))
        if below:
            self.directories[name] = str(Path(self.destination.shown(path)).parent)
        root = parse_yaml(text, name)
        if not isinstance(root, Table):
            raise place_error(root.span, f"expected a table with processes, got {root.kind}")
        parent = scalar_text(node) if (node := root.get("extends")) else None
        if not parent:
            return root
        target = real_path(path.parent / parent)
        span = root.entries["extends"].span
        if target in (real_path(path), *below) or len(self.sources) > MOST_FILES:
            raise place_error(span, f"extends {parent}, which extends this file")
        try:
            base = self.load(target, (real_path(path), *below))
        except UsageError as error:
            raise place_error(span, f"extends: {error}") from None
        return _merged(base, root)

    def base(self, keys: TableKeys) -> str:
        """Return the directory in which a process runs, unless it names one."""
        named = keys.table.entries.get("working_dir")
        return self.directories.get((named.span if named else keys.span()).file, ".")


def _merged(base: Table, over: Table) -> Table:
    """Return two tables as one. A value of `over` wins, unless it is empty, 0 or false, as process-compose has it."""
    entries = dict(base.entries)
    for key, entry in over.entries.items():
        before = entries.get(key)
        entries[key] = Entry(entry.span, _merged_value(key, before.value, entry.value)) if before else entry
        if before and entries[key].value is before.value:
            entries[key] = before
    return Table(over.span, over.tag, entries)


def _merged_value(key: str, base: Node, over: Node) -> Node:
    if isinstance(base, Table) and isinstance(over, Table):
        return _merged(base, over)
    if isinstance(base, Items) and isinstance(over, Items) and key not in ("namespace", "paths"):
        items = {_item_name(key, item, index): item for index, item in enumerate((*base.items, *over.items))}
        return Items(over.span, over.tag, tuple(items.values()))
    return base if isinstance(over, Scalar) and not over.value else over


def _item_name(key: str, item: Node, index: int) -> str | int:
    """Return what makes an item the same as another one: the name of a variable; for other lists, none is."""
    text = scalar_text(item)
    return text.partition("=")[0] if key == "environment" and text else index


def _extended(top: TableKeys, path: Path) -> dict[str, Table]:
    """Return the processes by name, each merged over the process that it extends."""
    table = top.below("processes", ("services",))
    if table is None:
        raise place_error(*(top.notes.first_refused("processes") or (top.span(), "has no processes")))
    found: dict[str, Table] = {}

    def resolve(name: str, below: tuple[str, ...]) -> Table | None:
        entry = table.table.entries.get(name)
        if entry is None or not isinstance(entry.value, Table):
            return None
        if name in found:
            return found[name]
        parent = scalar_text(node) if (node := entry.value.get("extends")) else None
        own = Table(entry.span, entry.value.tag, entry.value.entries)
        if not parent:
            return own
        if parent in (name, *below):
            raise place_error(entry.span, f"processes.{name} extends itself")
        if len(below) >= MOST_EXTENDS:
            text = f"processes.{name} extends {parent}, the end of a chain of more than {MOST_EXTENDS} processes"
            raise place_error(entry.span, text)
        base = resolve(parent, (name, *below))
        if base is None:
            raise place_error(entry.span, f"processes.{name} extends {parent}, and there is no such process")
        return _merged(base, own)

    for name in table.keys:
        process = resolve(name, ())
        if process is not None:
            found[name] = process
        else:
            table.refuse(name, "expected a table with a command")
    return found


def _project(
    top: TableKeys, tables: dict[str, TableKeys], texts: Texts, destination: Destination
) -> tuple[Project, dict[str, TableKeys]]:
    """Return what all processes share, and the keys of each process with its place in the manifest."""
    kept = {name: keys for name, keys in tables.items() if not keys.boolean("is_daemon")}
    names = service_names(kept, {name: keys.integer("replicas") or 1 for name, keys in kept.items()})
    named = {}
    for name, keys in tables.items():
        label = names.get(name, name)
        named[name] = TableKeys(keys.table, keys.notes, keys.source, ("services", label))
        if name in names and label != name:
            keys.notes.inexact(keys.first_line(), keys.source, ("services", label), renamed(name, label))
        keys.entry("extends")
        named[name].entry("extends")
    ports = [texts.convert(port, templates=False) for keys in kept.values() for port in set(_probed_ports(keys))]

    def own_port(text: str) -> bool:
        variable = _VARIABLE.fullmatch(text)
        is_port = port_number(text) > 0 or (variable is not None and variable[1] not in LISTEN_VARIABLES)
        return is_port and ports.count(text) == 1

    project = Project(
        texts=texts,
        destination=destination,
        shell=_shell(top),
        names=names,
        replicas={name: names[process] for process, keys in kept.items() for name in _replica_names(process, keys)},
        deferred=frozenset(names[name] for name, keys in kept.items() if is_deferred(keys)),
        own_port=own_port,
        dotenv_each=any(keys.boolean("is_dotenv_disabled") for keys in kept.values()),
    )
    return project, named


def _probed_ports(keys: TableKeys) -> Iterator[str]:
    """Yield the local ports that the probes of a process name."""
    for probe in ("readiness_probe", "liveness_probe"):
        node = keys.table.get(probe)
        get = node.get("http_get") if isinstance(node, Table) else None
        if isinstance(get, Table):
            table = TableKeys(get, Notes(), "", ())
            port = table.text("port")
            if port is not None and (table.text("host") or "") in LOCAL_HOSTS:
                yield port


def _replica_names(process: str, keys: TableKeys) -> list[str]:
    """Return the names of the replicas of a process, by which others may depend on them."""
    count = min(keys.integer("replicas") or 1, MAX_REPLICAS)
    return [f"{process}-{number:0{len(str(count))}}" for number in range(count)] if count > 1 else []


def _shell(top: TableKeys) -> tuple[str, ...]:
    """Return the shell of the project with its argument; () for bash, the default."""
    keys = top.below("shell", ())
    if keys is None:
        return ()
    command, argument = keys.text("shell_command") or "bash", keys.text("shell_argument") or "-c"
    keys.refuse_all(
        dict.fromkeys(("elevated_shell_command", "elevated_shell_argument"), "no service gets rights of its own")
    )
    keys.finish(TOOL)
    return () if (command, argument) == ("bash", "-c") else (command, argument)


def _environment(top: TableKeys, texts: Texts) -> dict[str, str]:
    try:
        return environment(top, texts, ("env",))
    except TemplateError as error:
        top.refuse("environment", f"the template {error} is not understood")
        return {}


def _project_name(top: TableKeys) -> str:
    name = top.text("name")
    if not name:
        return ""
    label = dns_label(name)
    if label != name:
        top.inexact("name", "name", f"{name} is no DNS label")
    return label


def _settle_conditions(services: dict[str, dict[str, Any]], named: dict[str, TableKeys], project: Project) -> None:
    """Replace conditions that a manifest refuses: to wait for the health of what has none, or for the start of a schedule."""
    for process, keys in named.items():
        label = project.names.get(process, "")
        needs = services.get(label, {}).get("depends_on", {})
        for needed, condition in needs.items():
            word = condition if isinstance(condition, str) else condition["condition"]
            service, settled, text = services[needed], word, ""
            if "schedule" in service and word in ("started", "healthy"):
                settled = "exited" if word == "started" else "completed"
                text = f"{needed} runs at its times: the end of its first run is waited for"
            elif word == "healthy" and not service.keys() & {"health", "port"}:
                settled, text = (
                    "started",
                    f"{needed} has no check, so that it is never healthy: its start is waited for",
                )
            if settled != word:
                needs[needed] = settled if isinstance(condition, str) else condition | {"condition": settled}
                path = ("services", label, "depends_on", needed)
                keys.notes.inexact(keys.span("depends_on"), keys.name("depends_on"), path, text)


def _drop_left_out(services: dict[str, dict[str, Any]], named: dict[str, TableKeys], project: Project) -> None:
    """Remove dependencies on processes that were left out."""
    for name, keys in named.items():
        service = services.get(project.names.get(name, ""))
        for target in list(service.get("depends_on", ())) if service else ():
            if target not in services and service:
                keys.notes.refuse(keys.span("depends_on"), keys.name("depends_on"), f"{target} is left out")
                del service["depends_on"][target]
                if not service["depends_on"]:
                    del service["depends_on"]
