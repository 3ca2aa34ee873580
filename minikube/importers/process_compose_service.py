"""One process of process-compose as a service: what it runs, where, when it is restarted and how it stops."""

import re
import signal
from collections.abc import Callable, Mapping
from typing import Any

from msgspec import Struct

from minikube.durations import parse_duration
from minikube.importers.manifest_text import give_port
from minikube.importers.process_compose_probes import TOOL, Probing, readiness
from minikube.importers.process_compose_text import (
    REPLICA_VARIABLE,
    TemplateError,
    Texts,
    has_function,
)
from minikube.importers.shell_lines import going_on, line_keys
from minikube.importers.source import Destination
from minikube.importers.table_keys import TableKeys, scalar_text
from minikube.importers.yaml_nodes import Items, Table
from minikube.manifest.values import parse_schedule, parse_watch

MANUAL = "manual"
"""The profile of a process that is started by hand: `minikube start NAME`."""

NEVER_GIVES_UP = 1_000_000

LEFT_OUT = {
    "log_location": "each service has its log in .minikube/logs — see `minikube logs`",
    "disable_ansi_colors": "colours stay in the log — `minikube logs --color never` leaves them out",
    "is_elevated": "a service gets no rights of its own — write sudo in its command, or start minikube as root with user",
    "launch_timeout_seconds": "is for daemons",
    "mcp": "there are no MCP tools of services",
    "monitor_for": "there are no notices about output",
    "monitor_silence_threshold": "there are no notices about output",
    "truncate_log": "logs are rotated — see logs.keep, and `minikube logs --clear`",
    "is_template_disabled": "is taken over: templates stay as they are",
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
KNOWN = (
    *("command", "entrypoint", "environment", "env_file", "availability", "depends_on", "liveness_probe"),
    *("readiness_probe", "ready_log_line", "shutdown", "working_dir", "namespace", "replicas", "description", "vars"),
    *("disabled", "is_disabled", "is_daemon", "is_foreground", "is_tty", "is_interactive", "is_dotenv_disabled"),
    *("schedule", "watch", "log_configuration", "success_exit_codes", "extends", *LEFT_OUT),
)


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
    checked: frozenset[str]
    """The services with a check."""
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
        self.replicas = max(keys.integer("replicas") or 1, 1)
        variables = dict(project.texts.variables) | template_variables(keys)
        variables[REPLICA_VARIABLE] = "${REPLICA}" if self.replicas > 1 else "0"
        self.texts = Texts(project.texts.expands, variables)

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
            self.restart()
            self.stop()
            self.check()
            self.depends_on()
            self.schedule()
            self.watch()
            self.logs()
        except TemplateError as error:
            text = f"the template {error} is not understood — only a variable with a plain value is; write out what it makes"
            keys.notes.refuse(keys.span(), keys.source, text)
            return None
        keys.refuse_all(LEFT_OUT)
        keys.finish(KNOWN, TOOL)
        give_port(self.made, keys.notes, keys.first_line(), keys.source, str(keys.path[1]))
        return self.made

    def convert(self, key: str, *, for_shell: bool = False, templates: bool = True) -> str | None:
        """Take a key with a string, and return it as the manifest has it."""
        text = self.keys.text(key)
        return None if text is None else self.texts.convert(text, for_shell=for_shell, templates=templates)

    def run(self) -> bool:
        """Set what runs, and where. Return whether there is anything."""
        keys = self.keys
        made: dict[str, Any] = {}
        templates = not keys.boolean("is_template_disabled")
        command = self.convert("command", for_shell=True, templates=templates)
        entrypoint = keys.strings("entrypoint")
        if command and command.strip():
            keys.refuse("entrypoint", "command is there, too, which process-compose runs")
            made = self.command(command)
        elif entrypoint:
            made = {"command": [self.texts.convert(word) for word in entrypoint]}
        if not made:
            return False
        self.made |= made
        working_dir = self.convert("working_dir") or "."
        cwd = self.project.destination.path(_joined(self.base, _joined(working_dir, self.made.pop("cwd", "."))))
        if cwd != ".":
            self.made["cwd"] = cwd
        return True

    def command(self, command: str) -> dict[str, Any]:
        if self.project.shell:
            return {"command": [*self.project.shell, command.strip()]}
        bash = line_keys(command, bash=True)
        if self.replicas > 1 and REPLICA_VARIABLE in command:
            # Replicas count from 0 there, from 1 here.
            line = f"export {REPLICA_VARIABLE}=$((REPLICA - 1))\n"
            if isinstance(bash.get("command"), list):
                return {"command": ["bash", "-c", f"{line}{command.strip()}"]}
            return {"shell": f"{line}{going_on(command.strip())}"}
        return bash

    def environment(self) -> None:
        """Set `env` and `env_file`."""
        keys = self.keys
        env = environment(keys, self.texts, (*keys.path, "env"))
        if env or "env" in self.made:
            self.made["env"] = env | self.made.get("env", {})
        if self.replicas > 1 and REPLICA_VARIABLE not in str(self.made.get("shell", self.made.get("command"))):
            self.made.setdefault("env", {})[REPLICA_VARIABLE] = "${REPLICA}"
            keys.inexact("replicas", ("env", REPLICA_VARIABLE), "counts from 1 here, and from 0 in process-compose")
        files: list[Any] = []
        if not keys.boolean("is_dotenv_disabled") and self.project.dotenv_each:
            files.append({"path": self.project.destination.path(".env"), "required": False})
        if file := self.convert("env_file"):
            working_dir = self.convert("working_dir") or "."
            files.append(self.project.destination.path(_joined(self.base, _joined(working_dir, file))))
        if files:
            self.made["env_file"] = files[0] if len(files) == 1 else files

    def selection(self) -> None:
        """Set replicas, groups, profiles and the description."""
        keys = self.keys
        if self.replicas > 1:
            self.made["replicas"] = self.replicas
        groups = [name for name in keys.strings("namespace") or () if name != "default"]
        if groups:
            self.made["groups"] = groups
        if is_deferred(keys):
            self.made["profiles"] = [MANUAL]
        if keys.boolean("is_foreground"):
            text = "process-compose gives it the terminal — `minikube run NAME` runs a command with yours"
            keys.inexact("is_foreground", "profiles", text)
        for key in ("is_tty", "is_interactive"):
            if keys.boolean(key):
                keys.refuse(key, "the program's output is a pipe, not a terminal")
        if description := self.convert("description"):
            self.made["meta"] = {"description": " ".join(description.split())}

    def restart(self) -> None:
        """Set `restart` and `on_exit`, with the defaults of process-compose."""
        keys = self.keys.below("availability", (*self.keys.path, "restart"))
        policy = (keys.text("restart") if keys else None) or "no"
        words = {"always": "always", "on_failure": "on-failure", "exit_on_failure": "never", "no": "never"}
        if policy not in words and keys:
            keys.refuse("restart", "expected always, on_failure, exit_on_failure or no — it is never restarted here")
        restart: dict[str, Any] = {"policy": words.get(policy, "never")}
        if restart["policy"] != "never":
            backoff = max((keys.integer("backoff_seconds") if keys else None) or 1, 1)
            most = max((keys.integer("max_restarts") if keys else None) or 0, 0)
            restart |= {"delay": f"{backoff}s", "max_delay": f"{backoff}s", "limit": most + 1 if most else NEVER_GIVES_UP}
            if most:
                restart |= {"max_restarts": most, "window": "365d"}
        elif keys:
            for key in ("backoff_seconds", "max_restarts"):
                keys.refuse(key, "has no meaning, as the process is never restarted")
        codes = [int(code) for code in self.keys.strings("success_exit_codes") or () if re.fullmatch(r"[0-9]{1,3}", code)]
        if codes := sorted({code for code in codes if code <= 255} - {0}):
            restart["success"] = [0, *codes]
        self.made["restart"] = restart["policy"] if len(restart) == 1 else restart
        if policy == "exit_on_failure":
            self.made["on_exit"] = "stop-all-on-failure"
        if keys:
            if keys.boolean("exit_on_end"):
                self.made["on_exit"] = "stop-all"
            if keys.boolean("exit_on_skipped"):
                keys.refuse("exit_on_skipped", 'write on_exit = "stop-all-on-failure" in the services that it depends on')
            keys.finish(("restart", "backoff_seconds", "max_restarts", "exit_on_end", "exit_on_skipped"), TOOL)

    def stop(self) -> None:
        keys = self.keys.below("shutdown", (*self.keys.path, "stop"))
        if keys is None:
            return
        stop: dict[str, Any] = {}
        number = keys.integer("signal")
        if number is not None:
            try:
                stop["signal"] = signal.Signals(number).name.removeprefix("SIG")
            except ValueError:
                keys.refuse("signal", "is no signal")
        command = keys.text("command")
        if command and command.strip():
            run = line_keys(self.texts.convert(command, for_shell=True), bash=not self.project.shell)
            stop |= run if run.keys() <= {"command", "shell"} else {"shell": self.texts.convert(command, for_shell=True).strip()}
            keys.inexact("command", next(iter(run)), "the signal is sent after it, which process-compose does not do")
        timeout = keys.integer("timeout_seconds")
        if timeout is not None and timeout > 0:
            stop["timeout"] = f"{timeout}s"
        if keys.boolean("parent_only"):
            keys.inexact("parent_only", "", "the signal is always sent to all processes of the service")
        keys.refuse("send_keys", "no keys are sent — the signal ends it")
        keys.finish(("command", "timeout_seconds", "signal", "parent_only", "send_keys"), TOOL)
        if stop:
            self.made["stop"] = stop

    def check(self) -> None:
        """Set `health`, and `port` where the probe names it."""
        restarts = self.made["restart"] not in ("never",) and self.made["restart"] != {"policy": "never"}
        if isinstance(self.made["restart"], dict):
            restarts = self.made["restart"]["policy"] != "never"
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
            table.finish(("condition",), TOOL)
        if word is None:
            keys.inexact(name, target, "no condition is named: started, as process-compose documents it")
        elif word not in CONDITIONS:
            keys.inexact(name, target, f"{word} is no condition of process-compose: started is taken")
        condition = CONDITIONS.get(word or "", "started")
        if condition == "healthy" and target not in self.project.checked:
            keys.inexact(name, target, f"{target} has no check: it is healthy once it has run for a second")
        if target in self.project.deferred and self.keys.path[1] not in self.project.deferred:
            text = f"{target} is started by hand: where it does not run, it is not waited for"
            keys.inexact(name, target, text)
            return {"condition": condition, "required": False}
        return condition

    def schedule(self) -> None:
        keys = self.keys.below("schedule", (*self.keys.path, "schedule"))
        if keys is None:
            return
        cron, interval = keys.text("cron"), keys.text("interval")
        try:
            if cron:
                self.made["schedule"] = parse_schedule(cron)
            elif interval:
                self.made["schedule"] = parse_schedule(f"every {parse_duration(interval):g}s")
        except ValueError as error:
            keys.refuse("cron" if cron else "interval", str(error))
        if keys.boolean("run_on_start"):
            keys.inexact("run_on_start", "", "the first run is at its time — `minikube start NAME` runs it at once")
        keys.refuse("timezone", "times are those of this machine")
        if (keys.integer("max_concurrent") or 1) > 1:
            keys.inexact("max_concurrent", "", "it never runs twice at a time")
        keys.finish(("cron", "interval", "run_on_start", "timezone", "max_concurrent"), TOOL)

    def watch(self) -> None:
        keys = self.keys.below("watch", (*self.keys.path, "watch"))
        if keys is None:
            return
        patterns: list[str] = []
        items = keys.items("paths")
        for index, item in enumerate(items.items if items else ()):
            if isinstance(item, Table):
                table = TableKeys(item, keys.notes, f"{keys.name('paths')}[{index}]", keys.path)
                patterns += self.watched(table)
        if patterns:
            self.made["watch"] = patterns
        reasons = dict.fromkeys(("max_entries", "buffer_size", "debounce"), "there is no such setting")
        keys.refuse_all(reasons | {"cascade": "services that depend on it are not restarted with it"})
        keys.refuse("disable_default_excludes", "what the project's .gitignore leaves out is left out")
        keys.finish(("paths", *reasons, "cascade", "disable_default_excludes"), TOOL)

    def watched(self, table: TableKeys) -> list[str]:
        """Return the patterns of one watched path."""
        path = self.texts.convert(table.text("path") or ".")
        path = self.project.destination.path(_joined(self.base, _joined(self.convert("working_dir") or ".", path)))
        path = path.rstrip("/") or "/"
        includes, excludes = table.strings("include") or [], table.strings("exclude") or []
        below = [f"{path}/{word if '/' in word else f'**/{word}'}" for word in includes] or [path]
        patterns = [*below, *(f"!{path}/{word if '/' in word else f'**/{word}'}" for word in excludes)]
        table.finish(("path", "include", "exclude"), TOOL)
        good: list[str] = []
        for pattern in patterns:
            try:
                good.append(parse_watch(pattern))
            except ValueError as error:
                table.refuse("path", str(error))
        return good

    def logs(self) -> None:
        """Set `logs` from the rotation of `log_configuration`."""
        keys = self.keys.below("log_configuration", (*self.keys.path, "logs"))
        rotation = keys.below("rotation", keys.path) if keys else None
        if keys is None:
            return
        made: dict[str, Any] = {}
        if rotation:
            if (size := rotation.integer("max_size_mb")) and size > 0:
                made["max_size"] = f"{size}M"
            if (backups := rotation.integer("max_backups")) and 0 < backups <= 1000:
                made["keep"] = backups
            if (days := rotation.integer("max_age_days")) and days > 0:
                made["max_age"] = f"{min(days, 3650)}d"
            own = "each service has its log in .minikube/logs"
            rotation.refuse_all({"directory": own, "filename": own, "compress": "older files are not compressed"})
            rotation.finish(("max_size_mb", "max_backups", "max_age_days", "directory", "filename", "compress"), TOOL)
        for key in keys.keys:
            if key != "rotation":
                keys.refuse(key, "each line has its time and stream; `minikube logs` chooses what it shows")
        if made:
            self.made["logs"] = made


def template_variables(keys: TableKeys) -> dict[str, str]:
    """Return the `vars` of a project or process that have plain values. Others are noted where they are used."""
    table = keys.below("vars", keys.path)
    if table is None:
        return {}
    texts = {key: scalar_text(entry.value) for key, entry in table.table.entries.items()}
    return {key: text for key, text in texts.items() if text is not None}


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
            name, equals, value = (scalar_text(item) or "").partition("=")
            pairs.append((name, value if equals else None))
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
    word = (keys.text("is_disabled") or "").lower()
    disabled = word == "true" or (word != "false" and bool(keys.boolean("disabled")))
    return disabled or bool(keys.boolean("is_foreground"))


def _joined(base: str, path: str) -> str:
    """Return a path that is relative to `base`."""
    if base == "." or path.startswith(("/", "~", "$")):
        return path
    return base if path == "." else f"{base.rstrip('/')}/{path.removeprefix('./')}"
