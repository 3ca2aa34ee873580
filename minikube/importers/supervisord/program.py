"""A `[program:x]` of supervisord as one service, or as one for each of its processes where their numbers have to be right."""

import os
import re
import shlex
import signal
from collections.abc import Collection
from pathlib import Path
from typing import Any

from msgspec import Struct

from minikube.durations import parse_size
from minikube.importers.manifest_text import give_port
from minikube.importers.names import MANUAL_PROFILE, dns_label, free_label, renamed
from minikube.importers.result import Notes
from minikube.importers.source import Destination
from minikube.importers.supervisord.values import HERE, Expansions, Options, environment
from minikube.manifest.keys.commands import find_shell_syntax
from minikube.manifest.validate import MAX_REPLICAS

MOST_SERVICES = 50
"""The most processes that become services of their own."""

START_SECONDS = 1
START_RETRIES = 3

STANDARD_STREAMS = frozenset(
    {"/dev/stdout", "/dev/stderr", "/dev/fd/1", "/dev/fd/2", "auto", "none", "off", "/dev/null"}
)
"""Log files that need none of ours: what they mean is that minikube has the output, or that it is not needed."""

OWN_LOG = "each service has its log in .minikube/logs — see `minikube logs`"
LEFT_OUT = {
    **dict.fromkeys(
        (
            *("stdout_capture_maxbytes", "stderr_capture_maxbytes", "stdout_events_enabled", "stderr_events_enabled"),
            *("stdout_syslog", "stderr_syslog"),
        ),
        "output goes to the log only",
    ),
    "serverurl": "programs find the registry by MINIKUBE_REGISTRY",
    "stderr_logfile_maxbytes": "stderr is in the same log as stdout",
    "stderr_logfile_backups": "stderr is in the same log as stdout",
}
_NUMBER = re.compile(r"%\(process_num\)")


class Shared(Struct, frozen=True):
    """What `[supervisord]` says for all programs."""

    destination: Destination
    notes: Notes
    directory: str
    """Relative to the directory of the file, unless it is absolute."""
    user: str
    umask: str


class Program:
    """One program while it is read."""

    def __init__(self, options: Options, name: str, label: str, shared: Shared, group: tuple[str, int]) -> None:
        self.options = options
        self.name = name
        self.label = label
        self.shared = shared
        self.group, group_priority = group
        priority = options.integer("priority")
        self.priority = group_priority if priority is None else priority
        self.count = max(options.integer("numprocs") or 1, 1)
        self.first = options.integer("numprocs_start") or 0

    def services(self, taken: Collection[str]) -> dict[str, dict[str, Any]]:
        """Return the services of the program by name; none, with a note, where it has no command. `taken` are other names."""
        options = self.options
        try:
            words = shlex.split(options.text("command") or "")
        except ValueError as error:
            options.refuse_section(f"its command is not understood ({str(error).lower()})")
            return {}
        if not words or not words[0]:
            options.refuse_section("has no command")
            return {}
        uses_number = any(_NUMBER.search(options.text(key) or "") for key in ("command", "environment", "directory"))
        made: dict[str, dict[str, Any]] = {}
        if self.count > 1 and uses_number and self.count <= MOST_SERVICES:
            for number in range(self.first, self.first + self.count):
                label = free_label(dns_label(f"{self.label}-{number:0{len(str(self.first + self.count - 1))}}"), taken)
                made[label] = self.service(label, number, (*self.groups(), self.label))
            text = (
                f"each process is a service of its own, so that its number is right — @{self.label} names all of them"
            )
            options.inexact("numprocs", ("services", next(iter(made))), text)
        else:
            made[self.label] = self.service(self.label, "${REPLICA}" if self.count > 1 else self.first, self.groups())
            if self.count > 1:
                made[self.label]["replicas"] = min(self.count, MAX_REPLICAS)
                if uses_number and self.first != 1:
                    text = f"the number of a replica counts from 1, not from {self.first}"
                    options.inexact("numprocs", ("services", self.label, "replicas"), text)
        if self.label != self.name:
            path = ("services", next(iter(made)))
            options.notes.inexact(options.header, f"[program:{self.name}]", path, renamed(self.name, self.label))
        options.refuse_all(LEFT_OUT)
        options.finish()
        return made

    def groups(self) -> tuple[str, ...]:
        return (dns_label(self.group),) if self.group else ()

    def service(self, label: str, number: int | str, groups: tuple[str, ...]) -> dict[str, Any]:
        options = self.options
        path = ("services", label)
        values: dict[str, str | int] = {"program_name": self.name, "group_name": self.group or self.name}
        values |= {"numprocs": self.count, "process_num": number}
        made: dict[str, Any] = {}
        cwd = self.directory(values)
        destination = self.shared.destination
        absolute = os.path.normpath(os.path.join(destination.source_dir, cwd))
        inside = not cwd.startswith(("$", "~")) and Path(absolute).is_relative_to(destination.source_dir)
        expansions = Expansions(absolute if inside else "", values)
        for key in ("command", "environment", "user"):
            for name in expansions.unknown_names(options.text(key) or ""):
                text = f"%({name[:40]}) has no value here: it stays as it is written"
                options.inexact(key, (*path, "env" if key == "environment" else key), text)
        made["command"] = self.command(expansions)
        if (written := destination.path(cwd)) != ".":
            made["cwd"] = written
        if env := environment(options, expansions, (*path, "env")):
            made["env"] = env
        if user := options.text("user") or self.shared.user:
            made["user"] = expansions.convert(user)
        if umask := options.text("umask") or self.shared.umask:
            if re.fullmatch(r"0?[0-7]{1,3}", umask):
                made["umask"] = umask
            else:
                options.refuse("umask", "expected an octal mask such as 022")
        if groups:
            made["groups"] = list(groups)
            if self.group and self.group != dns_label(self.group):
                options.notes.inexact(
                    options.header, f"[group:{self.group}]", (*path, "groups"), "a group is a DNS label"
                )
        if options.boolean("autostart") is False:
            made["profiles"] = [MANUAL_PROFILE]
        process_name = options.text("process_name")
        if process_name and not re.fullmatch(
            r"(?:%\((?:program_name|group_name|process_num)\)[0-9]*[sd]|[-_])+", process_name
        ):
            options.inexact("process_name", path, "an instance is named after its service: NAME, or NAME-1, NAME-2, …")
        made |= self.restart(path) | self.stop(path) | self.logs()
        give_port(made, options.notes, options.header, f"[program:{self.name}]", label)
        return made

    def directory(self, values: dict[str, str | int]) -> str:
        """Return where the program runs, relative to the directory of the file unless it is absolute."""
        text = self.options.marked("directory")
        if text is None:
            return self.shared.directory
        converted = Expansions(str(self.shared.destination.source_dir), values).convert(text, relative=True)
        # `%(here)s` says where by itself; another relative path begins where supervisord runs.
        base = "." if text.startswith(HERE) else self.shared.directory
        return converted if base == "." or converted.startswith(("/", "$", "~")) else os.path.join(base, converted)

    def command(self, expansions: Expansions) -> str | list[str]:
        """Return the command: as one string where no shell syntax is in it, else as words."""
        text = " ".join(expansions.convert(self.options.marked("command") or "", relative=True).split("\n"))
        return text if find_shell_syntax(text) is None else shlex.split(text)

    def restart(self, path: tuple[str, ...]) -> dict[str, Any]:
        """Return `restart`, with supervisord's defaults."""
        options = self.options
        word = (options.text("autorestart") or "unexpected").lower()
        policy = {"unexpected": "on-failure", "true": "always", "false": "never"}.get(
            {"yes": "true", "on": "true", "1": "true", "no": "false", "off": "false", "0": "false"}.get(word, word)
        )
        if policy is None:
            options.refuse("autorestart", "expected true, false or unexpected: unexpected, the default, is taken")
        seconds, retries = options.integer("startsecs"), options.integer("startretries")
        codes = [
            int(code)
            for code in re.findall(r"(?<![0-9])[0-9]{1,3}(?![0-9])", options.text("exitcodes") or "0")
            if int(code) <= 255
        ]
        for code in re.findall(r"[0-9]+", options.text("exitcodes") or ""):
            if len(code) > 3 or int(code) > 255:
                options.inexact("exitcodes", (*path, "restart"), f"{code[:9]} is no exit code, which is at most 255")
        if policy == "never":
            if seconds != 0:
                text = "supervisord starts it again where it ends within startsecs — here it is never started again"
                options.inexact("autorestart", (*path, "restart"), text)
            return {"restart": "never"}
        restart: dict[str, Any] = {"policy": policy or "on-failure", "delay": "1s"}
        restart["limit"] = max(START_RETRIES if retries is None else retries, 0) + 1
        if policy != "always" and codes and codes != [0]:
            restart["success"] = codes
        if seconds not in (None, START_SECONDS):
            text = f"a start has failed where the program ends within {START_SECONDS} s, or before its check passes"
            options.inexact("startsecs", (*path, "restart"), text)
        return {"restart": restart}

    def stop(self, path: tuple[str, ...]) -> dict[str, Any]:
        options = self.options
        stop: dict[str, Any] = {}
        if word := options.text("stopsignal"):
            name = word.upper().removeprefix("SIG")
            try:
                found = signal.Signals(int(word)) if word.isdecimal() else signal.Signals[f"SIG{name}"]
                stop["signal"] = found.name.removeprefix("SIG")
            except (KeyError, ValueError):
                options.refuse("stopsignal", "is no signal: TERM is sent")
        seconds = options.integer("stopwaitsecs")
        if seconds is not None and seconds >= 0:
            stop["timeout"] = f"{seconds}s"
        for key in ("stopasgroup", "killasgroup"):
            if options.boolean(key) is False:
                options.inexact(key, (*path, "stop"), "signals are sent to all processes of a service")
        return {"stop": stop} if stop else {}

    def logs(self) -> dict[str, Any]:
        options = self.options
        options.boolean("redirect_stderr")  # both are in one log, each line with its stream
        files = {key: (options.text(key) or "auto").lower() for key in ("stdout_logfile", "stderr_logfile")}
        for key, file in files.items():
            if file not in STANDARD_STREAMS:
                options.refuse(key, OWN_LOG)
        logs: dict[str, Any] = {}
        size, keep = options.text("stdout_logfile_maxbytes"), options.integer("stdout_logfile_backups")
        if size is not None:
            try:
                if parse_size(size) > 0:
                    logs["max_size"] = size.upper()
                elif files["stdout_logfile"] not in STANDARD_STREAMS:
                    options.refuse("stdout_logfile_maxbytes", "a log is always rotated — see logs.max_size")
            except ValueError as error:
                options.refuse("stdout_logfile_maxbytes", str(error))
        if keep is not None and 0 <= keep <= 1000:
            logs["keep"] = keep
        return {"logs": logs} if logs else {}
