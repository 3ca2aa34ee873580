"""One app of pm2 as a service: its script and interpreter, its instances and ports, restarts, and how it stops."""

import os
import re
from collections.abc import Collection
from typing import Any

from minikube.durations import parse_size
from minikube.importers.manifest_text import literal, port_number
from minikube.importers.names import MANUAL_PROFILE, dns_label, free_label
from minikube.importers.pm2.script import script_keys
from minikube.importers.source import Destination, join_paths
from minikube.importers.table_keys import TableKeys, scalar_text
from minikube.importers.yaml_nodes import Entry, Scalar, Table, plain_value
from minikube.manifest.keys.limits import LEAST_LIMITS
from minikube.manifest.validate import MAX_REPLICAS
from minikube.manifest.values import parse_schedule, parse_watch

TOOL = "pm2"
DEFAULT_RESTARTS = 16
DEFAULT_KILL_MS = 1600
DEFAULT_UPTIME_MS = 1000
MOST_BACKOFF = "15s"

ALIASES = {
    **dict.fromkeys(("exec", "cmd", "command"), "script"),
    **dict.fromkeys(("interpreter", "execInterpreter"), "exec_interpreter"),
    **dict.fromkeys(("interpreter_args", "interpreterArgs", "nodeArgs"), "node_args"),
    **dict.fromkeys(("out", "output", "out_log"), "out_file"),
    **dict.fromkeys(("error", "err", "err_file", "err_log"), "error_file"),
    "log": "log_file",
    "pid": "pid_file",
    "cron": "cron_restart",
    "combine_logs": "merge_logs",
    "user": "uid",
}
"""Other names of keys; each key may also be written in camelCase."""

_LOGS = "each service has its log in .minikube/logs — see `minikube logs`"
_PM2 = "is about pm2 itself"
LEFT_OUT = {
    **dict.fromkeys(("out_file", "error_file", "log_file", "disable_logs", "merge_logs", "log_type"), _LOGS),
    **dict.fromkeys(("log_date_format", "time"), "each line has its time — see `minikube logs --timestamps`"),
    "pid_file": "`minikube ps --json` has the pids",
    **dict.fromkeys(
        (
            *(
                "vizion",
                "pmx",
                "automation",
                "trace",
                "disable_trace",
                "deep_monitoring",
                "event_loop_inspector",
                "io",
                "v8",
            ),
            *(
                "install_url",
                "post_update",
                "username",
                "windowsHide",
                "kill_retry_time",
                "force",
                "write",
            ),
            *(
                "source_map_support",
                "disable_source_map_support",
                "execute_command",
                "append_env_to_name",
                "name_prefix",
            ),
        ),
        _PM2,
    ),
    "increment_var": "no variable counts up from replica to replica — ${REPLICA} in env counts from 1, and port names a range",
    "filter_env": "the whole environment is handed on — write a variable as empty in env",
    "wait_ready": "the message `ready` is not read — write health, or health.log with what the program prints",
    "listen_timeout": "a service is ready when its check passes — see health.start_period",
    "shutdown_with_message": "a signal ends a service, no message — see stop.signal",
    "watch_delay": "there is no such setting",
    "watch_options": "there is no such setting",
}


class App:
    """One app while it is read."""

    def __init__(self, keys: TableKeys, destination: Destination) -> None:
        self.keys = keys
        self.destination = destination
        self.label = str(keys.path[1])
        self.cwd = keys.text("cwd") or "."
        self.made: dict[str, Any] = {}

    def services(self, taken: Collection[str]) -> dict[str, dict[str, Any]]:
        """Return the service of the app, and one that restarts it at its times where it has such; none without a script."""
        keys = self.keys
        keys.text("name")
        if not (keys.text("script") or "").strip():
            keys.notes.refuse(keys.span(), keys.source, "has no script")
            return {}
        self.made |= script_keys(keys, self.destination.source_dir / self.cwd)
        cwd = self.destination.path(literal(join_paths(self.cwd, self.made.pop("cwd", "."))))
        if cwd != ".":
            self.made["cwd"] = cwd
        self.environment()
        self.instances()
        self.selection()
        self.restart()
        self.stop()
        self.watch()
        self.memory()
        more = self.schedule(taken)
        for key in keys.keys:
            if key.startswith("env_"):
                text = f"is for `pm2 start --env {key[4:]}` — write its variables in a file such as {key[4:]}.toml,"
                keys.refuse(key, f"{text} and run `minikube up -f supervisor.toml -f {key[4:]}.toml`")
        keys.refuse_all(LEFT_OUT)
        keys.finish(TOOL)
        return {self.label: self.made} | more

    def environment(self) -> None:
        env: dict[str, str] = {}
        keys = self.keys.below("env", (*self.keys.path, "env")) or TableKeys(
            Table(self.keys.span(), "", {}), self.keys.notes, "", ()
        )
        for name in keys.keys:
            entry = keys.entry(name)
            if entry is None or not re.fullmatch(r"[^=\s]+", name):
                keys.refuse(name, "has no value" if entry is None else "is no name of a variable")
                continue
            text = scalar_text(entry.value)
            env[name] = literal(str(plain_value(entry.value)) if text is None else text)
        env |= self.made.get("env", {})
        if env:
            self.made["env"] = env

    def instances(self) -> None:
        """Set `replicas` and `port`."""
        keys = self.keys
        count = instances(keys)
        cluster = (keys.text("exec_mode") or "").startswith("cluster")
        text = keys.text("instances") or "1"
        number = 0 if text == "max" else keys.integer("instances")
        if number is not None and number < 1:
            self.made["replicas"] = count
            fewer = (
                f"{-number} fewer than this machine has CPUs, and at least 1"
                if number
                else "as many as this machine has CPUs"
            )
            keys.inexact("instances", "replicas", f"{text} is {fewer}: {count}")
        if count > 1:
            self.made["replicas"] = count
        port = self.port()
        if count == 1:
            if port:
                self.made["port"] = port
                self.note_port(
                    "the service is registered with it — add health to have it checked by more than a connection"
                )
            if cluster:
                keys.inexact("exec_mode", "", "one process of its own runs, not one in a cluster")
            return
        shared = "processes of a cluster share one port; here " if cluster else ""
        if port:
            self.made["port"] = f"{port}-{port + count - 1}" if port + count - 1 <= 65535 else "auto"
            text = f"{shared}each replica listens on a PORT of its own, and the registry has all of them"
            keys.notes.inexact(keys.span("instances"), keys.name("instances"), (*keys.path, "port"), text)
        elif cluster:
            text = f'{shared}each needs one of its own — where it listens, write port = "auto" and listen on PORT'
            keys.inexact("instances", "replicas", text)
        variable = keys.text("instance_var") or "NODE_APP_INSTANCE"
        if re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", variable):
            self.made.setdefault("env", {})[variable] = "${REPLICA}"
            keys.notes.inexact(
                keys.span("instances"),
                keys.name("instances"),
                (*keys.path, "env", variable),
                "counts from 1, in pm2 from 0",
            )

    def port(self) -> int:
        """Return the port that `port` or PORT in `env` names, and take it from there; 0 for none."""
        text = self.keys.text("port") or self.made.get("env", {}).get("PORT", "")
        if not (port := port_number(text)):
            return 0
        env = self.made.get("env", {})
        env.pop("PORT", None)
        if not env:
            self.made.pop("env", None)
        return port

    def note_port(self, text: str) -> None:
        keys = self.keys
        span = keys.span("port")
        env = keys.table.get("env")
        if "port" not in keys.table.entries and isinstance(env, Table) and "PORT" in env.entries:
            span = env.entries["PORT"].span
        keys.notes.inexact(span, keys.name("port"), (*keys.path, "port"), text)

    def selection(self) -> None:
        keys = self.keys
        keys.text("instance_var")
        if (namespace := keys.text("namespace")) and namespace != "default":
            self.made["groups"] = [dns_label(namespace)]
            if namespace != dns_label(namespace):
                keys.inexact("namespace", "groups", "a group is a DNS label")
        if keys.boolean("autostart") is False:
            self.made["profiles"] = [MANUAL_PROFILE]
        for key, target in (("uid", "user"), ("gid", "group")):
            if text := keys.text(key):
                self.made[target] = text

    def restart(self) -> None:
        """Set `restart`, with pm2's defaults."""
        keys = self.keys
        most, uptime = keys.integer("max_restarts"), _milliseconds(keys.text("min_uptime"))
        delay, backoff = keys.integer("restart_delay"), keys.integer("exp_backoff_restart_delay")
        codes = [int(code) for code in keys.strings("stop_exit_codes") or () if re.fullmatch(r"[0-9]{1,3}", code)]
        codes = [code for code in codes if code < 256]
        if keys.boolean("autorestart") is False:
            self.made["restart"] = "never"
            for key in ("max_restarts", "min_uptime", "restart_delay", "exp_backoff_restart_delay", "stop_exit_codes"):
                keys.refuse(key, "has no meaning, as the app is never restarted")
            return
        restart: dict[str, Any] = {"policy": "on-failure" if codes else "always"}
        restart["limit"] = min(max(DEFAULT_RESTARTS if most is None else most, 1), 1_000_000)
        if codes:
            restart["success"] = codes
        if backoff and backoff > 0:
            restart |= {"delay": f"{backoff}ms", "max_delay": MOST_BACKOFF if backoff < 15_000 else f"{backoff}ms"}
            keys.inexact(
                "exp_backoff_restart_delay", ("restart", "delay"), "the first restart is at once; then it doubles"
            )
            keys.refuse("restart_delay", "exp_backoff_restart_delay is there, too")
        elif delay and delay > 0:
            restart |= {"delay": f"{delay}ms", "max_delay": f"{delay}ms"}
            keys.inexact("restart_delay", ("restart", "delay"), "the first restart is at once")
        if uptime not in (None, DEFAULT_UPTIME_MS):
            text = "a start has failed where the program ends within 1 s, or before its check passes"
            keys.inexact("min_uptime", "restart", text)
        self.made["restart"] = restart

    def stop(self) -> None:
        keys = self.keys
        timeout = keys.integer("kill_timeout")
        self.made["stop"] = {"signal": "INT", "timeout": f"{DEFAULT_KILL_MS if timeout is None else max(timeout, 0)}ms"}
        if keys.boolean("treekill") is False:
            keys.inexact("treekill", "stop", "the signal is always sent to all processes of a service")

    def watch(self) -> None:
        keys = self.keys
        entry = keys.entry("watch")
        ignored = keys.strings("ignore_watch")
        if entry is None or (isinstance(entry.value, Scalar) and entry.value.value in (False, "false", "")):
            keys.refuse("ignore_watch", "nothing is watched")
            return
        whole = isinstance(entry.value, Scalar) and entry.value.value in (True, "true")
        watched = ["."] if whole else keys.strings("watch") or []
        hidden = ["node_modules", ".*"] if ignored is None else ignored
        patterns = [self.destination.path(literal(join_paths(self.cwd, path))) for path in watched]
        good: list[str] = []
        for pattern in [*patterns, *(f"!{name.removeprefix('./')}" for name in hidden)]:
            try:
                good.append(parse_watch(pattern))
            except ValueError:
                keys.refuse(
                    "ignore_watch" if pattern.startswith("!") else "watch", f"{pattern} is no pattern of .gitignore"
                )
        if good:
            self.made["watch"] = good
        if ignored:
            keys.inexact("ignore_watch", "watch", "patterns are those of .gitignore, from the directory of this file")

    def memory(self) -> None:
        text = self.keys.text("max_memory_restart")
        if text is None:
            return
        if not re.fullmatch(r"[0-9]{1,15}[KMG]?", text) or parse_size(text) < LEAST_LIMITS["memory"]:
            self.keys.refuse("max_memory_restart", "expected a size such as 300M, of at least 64K")
            return
        self.made["limits"] = {"memory": text}
        what = "the kernel kills a process that needs more, at once; pm2 looks every 30 s, and restarts the app"
        self.keys.inexact("max_memory_restart", ("limits", "memory"), what)

    def schedule(self, taken: Collection[str]) -> dict[str, dict[str, Any]]:
        """Set `schedule` of a task; return the service that restarts another app at its times."""
        keys = self.keys
        text = keys.text("cron_restart")
        if text is None or text == "0":
            return {}
        try:
            schedule = parse_schedule(text)
        except ValueError as error:
            keys.refuse("cron_restart", str(error))
            return {}
        if self.made["restart"] == "never" and "watch" not in self.made:  # a manifest has either
            self.made["schedule"] = schedule
            keys.inexact("cron_restart", "schedule", "it runs at these times; pm2 also runs it at the start")
            return {}
        label = free_label(dns_label(f"{self.label}-restart"), taken)
        what = f"restarts {self.label} at its times, one replica after the other"
        keys.notes.inexact(keys.span("cron_restart"), keys.name("cron_restart"), ("services", label), what)
        return {label: {"command": ["minikube", "restart", self.label], "schedule": schedule, "restart": "never"}}


def instances(keys: TableKeys) -> int:
    """Return how many instances an app has; of `max`, 0 and negative numbers, by the CPUs of this machine."""
    count = 0 if keys.text("instances") == "max" else keys.integer("instances")
    if count is None:
        return 1
    return min(count if count > 0 else max(1, (os.cpu_count() or 1) + count), MAX_REPLICAS)


def canonical(app: Table) -> Table:
    """Return an app with the main name of each of its keys. Of two names for one key the main one counts."""
    entries: dict[str, Entry] = {}
    for key, entry in app.entries.items():
        name = ALIASES.get(key) or ALIASES.get(snake := _snake_case(key)) or snake
        if key.startswith("env_"):
            name = key
        if name not in entries or name == key:
            entries[name] = entry
    return Table(app.span, app.tag, entries)


def _snake_case(key: str) -> str:
    return re.sub(r"(?<=[a-z])[A-Z]", lambda match: f"_{match[0].lower()}", key) if key != "windowsHide" else key


def _milliseconds(text: str | None) -> int | None:
    match = re.fullmatch(r"([0-9]{1,12})(ms|s|m|h)?", text or "")
    return int(match[1]) * {"s": 1000, "m": 60_000, "h": 3_600_000}.get(match[2] or "", 1) if match else None
