"""One process of process-compose as a service: what it runs, where, with which variables, and what it waits for."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from minikube.importers.manifest_text import give_port
from minikube.importers.names import MANUAL_PROFILE, dns_label
from minikube.importers.process_compose.lifecycle import (
    TOOL,
    log_keys,
    restart_keys,
    schedule_keys,
    stop_keys,
    watch_keys,
)
from minikube.importers.process_compose.probes import Probing, readiness
from minikube.importers.process_compose.text import (
    REPLICA_VARIABLE,
    TemplateError,
    Texts,
    has_function,
)
from minikube.importers.shell_lines import going_on, line_keys
from minikube.importers.source import Destination, join_paths
from minikube.importers.table_keys import TableKeys, scalar_text
from minikube.importers.yaml_nodes import Items, Table
from minikube.manifest.validate import MAX_REPLICAS

_POSIX_SHELL = re.compile(r"(?:^|/)(?:ba|z|k|da|a|mk)?sh$")

LEFT_OUT = {
    "log_location": "each service has its log in .minikube/logs — see `minikube logs`",
    "disable_ansi_colors": "colours stay in the log — `minikube logs --color never` leaves them out",
    "is_elevated": "a service gets no rights of its own — write sudo in its command, or start minikube as root with user",
    "launch_timeout_seconds": "is for daemons",
    "mcp": "there are no MCP tools of services",
    "monitor_for": "there are no notices about output",
    "monitor_silence_threshold": "there are no notices about output",
    "truncate_log": "logs are rotated — see logs.keep, and `minikube logs --clear`",
    "original_config": "is written by process-compose itself",
    "replica_num": "is written by process-compose itself",
    "replica_name": "is written by process-compose itself",
    "executable": "is written by process-compose itself",
    "args": "is written by process-compose itself",
}
CONDITIONS = {
    "process_started": "started",
    "process_healthy": "healthy",
    "process_log_ready": "healthy",
    "process_completed": "exited",
    "process_completed_successfully": "completed",
}


class Project(Struct, frozen=True):
    """What the processes of one project share."""

    texts: Texts
    destination: Destination
    shell: tuple[str, ...]
    """The program and its argument; empty: the default, bash."""
    names: Mapping[str, str]
    """The service of each process."""
    replicas: Mapping[str, str]
    """The service of each name of a replica, such as `web-0`."""
    deferred: frozenset[str]
    """The services that are not started by themselves."""
    own_port: Callable[[str], bool]
    dotenv_each: bool
    """Whether each service names `.env` itself, because some processes do not read it."""


class Service:
    """The service of one process, while it is read."""

    def __init__(self, keys: TableKeys, project: Project, base: str) -> None:
        """`base` is the directory of the file, relative to that of the first one."""
        self.keys = keys
        self.project = project
        self.base = base
        self.made: dict[str, Any] = {}
        self.replicas = min(max(keys.integer("replicas") or 1, 1), MAX_REPLICAS)
        if (keys.integer("replicas") or 1) > MAX_REPLICAS:
            keys.inexact("replicas", "replicas", f"{MAX_REPLICAS} is the most")
        variables = dict(project.texts.variables) | template_variables(keys)
        variables[REPLICA_VARIABLE] = "${REPLICA}" if self.replicas > 1 else "0"
        self.texts = Texts(project.texts.expands, variables)
        posix = not project.shell or bool(_POSIX_SHELL.search(project.shell[0]))
        self.counts = self.replicas > 1 and posix and REPLICA_VARIABLE in (keys.text("command") or "")
        """Whether the line of its shell sets PC_REPLICA_NUM."""

    def read(self) -> dict[str, Any] | None:
        """Return the service; None, with a note, where the process is left out as a whole."""
        keys = self.keys
        if keys.boolean("is_daemon"):
            text = "puts itself into the background, where minikube cannot see its end — run it in the foreground, without -d"
            keys.notes.refuse(keys.span(), keys.source, text)
            return None
        try:
            ran = self.run()
            if not ran:
                keys.notes.refuse(keys.span(), keys.source, "has neither command nor entrypoint")
                return None
            self.environment()
            self.selection()
            self.made |= restart_keys(keys) | stop_keys(keys, self.texts, bash=not self.project.shell)
            self.check()
            self.depends_on()
            self.made |= watch_keys(keys, self.path) | log_keys(keys)
            self.schedule()
        except TemplateError as error:
            text = f"the template {error} is not understood — only a variable with a plain value is; write out what it makes"
            keys.notes.refuse(keys.span(), keys.source, text)
            return None
        keys.refuse_all(LEFT_OUT)
        keys.finish(TOOL)
        give_port(self.made, keys.notes, keys.first_line(), keys.source, str(keys.path[1]))
        return self.made

    def schedule(self) -> None:
        """Set `schedule`, and change what a manifest does not have with it."""
        keys = self.keys
        self.made |= schedule_keys(keys)
        if "schedule" not in self.made:
            return
        if self.made.pop("watch", None):
            keys.refuse("watch", "a process with a schedule runs at its times only")
        restart = self.made["restart"]
        if (restart if isinstance(restart, str) else restart["policy"]) == "always":
            self.made["restart"] = "on-failure" if isinstance(restart, str) else restart | {"policy": "on-failure"}
            keys.inexact("availability", ("restart", "policy"), "a good run is not repeated before its time")

    def convert(self, key: str) -> str | None:
        """Take a key with a string, and return it as the manifest has it."""
        text = self.keys.text(key)
        return None if text is None else self.texts.convert(text)

    def path(self, text: str) -> str:
        """Return a path of the process, which is relative to where it runs, as the manifest has it."""
        working_dir = self.convert("working_dir") or "."
        return self.project.destination.path(join_paths(self.base, join_paths(working_dir, text)))

    def run(self) -> bool:
        """Set what runs, and where. Return whether there is anything."""
        keys = self.keys
        made: dict[str, Any] = {}
        templates = not keys.boolean("is_template_disabled")
        command = self.texts.convert(
            keys.text("command") or "", for_shell=True, templates=templates, counted=self.counts
        )
        entrypoint = keys.strings("entrypoint")
        if command.strip():
            keys.refuse("entrypoint", "command is there, too, which process-compose runs")
            made = self.command(command)
        elif entrypoint and entrypoint[0]:
            made = {"command": [self.texts.convert(word) for word in entrypoint]}
        if not made:
            return False
        self.made |= made
        cwd = self.path(self.made.pop("cwd", "."))
        if cwd != ".":
            self.made["cwd"] = cwd
        return True

    def command(self, command: str) -> dict[str, Any]:
        # Replicas count from 0 there, from 1 here.
        line = f"export {REPLICA_VARIABLE}=$((REPLICA - 1))\n" if self.counts else ""
        if self.project.shell:
            return {"command": [*self.project.shell, f"{line}{command.strip()}"]}
        found = line_keys(command, bash=True)
        if isinstance(found.get("command"), list):
            return {"command": ["bash", "-c", f"{line}{found['command'][-1]}"]}
        return {"shell": f"{line}{going_on(command.strip())}"} if line else found

    def environment(self) -> None:
        """Set `env` and `env_file`."""
        keys = self.keys
        env = environment(keys, self.texts, (*keys.path, "env"))
        if env or "env" in self.made:
            self.made["env"] = env | self.made.get("env", {})
        if self.replicas == 1 and REPLICA_VARIABLE in str(self.made.get("shell", self.made.get("command"))):
            self.made.setdefault("env", {})[REPLICA_VARIABLE] = "0"
        elif self.replicas > 1 and not self.counts:
            self.made.setdefault("env", {})[REPLICA_VARIABLE] = "${REPLICA}"
            keys.inexact("replicas", ("env", REPLICA_VARIABLE), "counts from 1 here, and from 0 in process-compose")
        files: list[Any] = []
        if not keys.boolean("is_dotenv_disabled") and self.project.dotenv_each:
            files.append({"path": self.project.destination.path(".env"), "required": False})
        if file := self.convert("env_file"):
            files.append(self.path(file))
        if files:
            self.made["env_file"] = files[0] if len(files) == 1 else files

    def selection(self) -> None:
        """Set replicas, groups, profiles and the description."""
        keys = self.keys
        if self.replicas > 1:
            self.made["replicas"] = self.replicas
        groups = [name for name in keys.strings("namespace") or () if name not in ("", "default")]
        if groups:
            self.made["groups"] = list(dict.fromkeys(map(dns_label, groups)))
        if any(name != dns_label(name) for name in groups):
            keys.inexact("namespace", "groups", "a group is a DNS label")
        if is_deferred(keys):
            self.made["profiles"] = [MANUAL_PROFILE]
        if keys.boolean("is_foreground"):
            text = "process-compose gives it the terminal — `minikube run NAME` runs a command with yours"
            keys.inexact("is_foreground", "profiles", text)
        for key in ("is_tty", "is_interactive"):
            if keys.boolean(key):
                keys.refuse(key, "the program's output is a pipe, not a terminal")
        if description := self.convert("description"):
            self.made["meta"] = {"description": " ".join(description.split())}

    def check(self) -> None:
        """Set `health`, and `port` where the probe names it."""
        restart = self.made["restart"]
        restarts = isinstance(restart, dict) and restart["policy"] != "never"
        alone = self.replicas == 1

        def own_port(text: str) -> bool:
            return alone and self.project.own_port(text)

        working_dir = self.convert("working_dir") or ""
        probing = Probing(self.texts, restarts, not self.project.shell, own_port, working_dir)
        self.made |= readiness(self.keys, probing)

    def depends_on(self) -> None:
        keys = self.keys.below("depends_on", (*self.keys.path, "depends_on"))
        if keys is None:
            return
        found: dict[str, Any] = {}
        for name in keys.keys:
            entry = keys.entry(name)
            target = self.project.names.get(name) or self.project.replicas.get(name)
            if target is None:
                keys.refuse(name, "there is no such process, or it is left out")
                continue
            if name not in self.project.names:
                keys.inexact(name, target, f"waits for all replicas of {target}")
            found[target] = self.condition(keys, name, target, entry.value if entry else None)
        if found:
            self.made["depends_on"] = found

    def condition(self, keys: TableKeys, name: str, target: str, node: Any) -> Any:
        """Return the condition of one dependency."""
        table = TableKeys(node, keys.notes, keys.name(name), keys.path) if isinstance(node, Table) else None
        word = table.text("condition") if table else None
        if table:
            table.finish(TOOL)
        if word is None:
            keys.inexact(name, target, "no condition is named: started, as process-compose documents it")
        elif word not in CONDITIONS:
            keys.inexact(name, target, f"{word} is no condition of process-compose: started is taken")
        condition = CONDITIONS.get(word or "", "started")
        if target in self.project.deferred and self.keys.path[1] not in self.project.deferred:
            text = f"{target} is started by hand: where it does not run, it is not waited for"
            keys.inexact(name, target, text)
            return {"condition": condition, "required": False}
        return condition


def template_variables(keys: TableKeys) -> dict[str, str]:
    """Return the `vars` of a project or process that have plain values. Others are noted where they are used."""
    table = keys.below("vars", keys.path)
    if table is None:
        return {}
    values = {key: scalar_text(entry.value) for key, entry in table.table.entries.items()}
    return {key: text for key, text in values.items() if text is not None}


def environment(keys: TableKeys, texts: Texts, path: tuple[str | int, ...]) -> dict[str, str]:
    """Return the `environment` of a project or process: `NAME=value` strings, or a table."""
    entry = keys.entry("environment")
    if entry is None:
        return {}
    found: dict[str, str] = {}
    pairs: list[tuple[str, str | None]] = []
    if isinstance(entry.value, Table):
        pairs = [(name, scalar_text(below.value) or "") for name, below in entry.value.entries.items()]
    elif isinstance(entry.value, Items):
        for item in entry.value.items:
            name, equals, text = (scalar_text(item) or "").partition("=")
            pairs.append((name, text if equals else None))
    else:
        keys.refuse("environment", "expected a list of NAME=value")
    for name, value in pairs:
        if value is None or not re.fullmatch(r"[^=\s]+", name):
            keys.refuse("environment", "expected NAME=value in each item — the others are left out")
            continue
        found[name] = texts.convert(value)
        if has_function(found[name]):
            keys.notes.inexact(keys.span("environment"), keys.name("environment"), (*path, name), FUNCTION)
    return found


FUNCTION = "functions in ${…} are not evaluated: only ${VAR}, ${VAR:-default} and ${VAR:?message} are"


def is_deferred(keys: TableKeys) -> bool:
    """Return whether a process is started by hand only."""
    word, disabled = (keys.text("is_disabled") or "").lower(), bool(keys.boolean("disabled"))
    foreground = bool(keys.boolean("is_foreground"))
    return word == "true" or (disabled and word != "false") or foreground
