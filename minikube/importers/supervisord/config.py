"""The reader of supervisord.conf, with the files that it includes.

`[program:x]` is a service, `[group:x]` a name in `groups`, and priorities are an order of starts. Sections about supervisord
itself, its event listeners and FastCGI programs are left out.
"""

import glob
import itertools
import os
from pathlib import Path
from typing import Any

from minikube.importers.detect import Found
from minikube.importers.names import service_names
from minikube.importers.result import Imported, Notes, SourceFile
from minikube.importers.source import Destination, read_source, source_error, source_file
from minikube.importers.supervisord.ini import Section, merge_sections, parse_ini
from minikube.importers.supervisord.program import Program, Shared
from minikube.importers.supervisord.values import TOOL, Expansions, Options, environment, with_here

MOST_FILES = 500
FIRST_PRIORITY = 999
"""The priority of programs and groups that name none."""

SECTIONS = {
    "eventlistener": "listens to supervisord's events, which minikube does not send — `minikube events --json` prints its own",
    "fcgi-program": "needs a socket that its supervisor opens — run it as a program that listens itself",
    "rpcinterface": "is a plugin of supervisord",
    "inet_http_server": "the control API is always there — see [control]",
    "unix_http_server": "the control API is always there — see [control]",
    "supervisorctl": "the commands of minikube find the project by its directory",
    "ctlplugin": "is a plugin of supervisorctl",
}
LEFT_OUT = {
    **dict.fromkeys(
        ("logfile", "logfile_maxbytes", "logfile_backups", "loglevel", "childlogdir", "strip_ansi", "nocleanup"),
        "logs are in .minikube/logs",
    ),
    "pidfile": "the state of a project is in .minikube",
    "identifier": "a project is known by its name and directory",
    "nodaemon": "`minikube up` stays in the foreground, with -d it does not",
    "silent": "`minikube up -d` prints one line",
    "minfds": "set limits.nofile in a service",
    "minprocs": "set limits.nproc in a service",
}


def read(found: Found, destination: Destination) -> Imported:
    """Return the import of a file with those that it includes. Raises UsageError where one cannot be read."""
    notes = Notes()
    sources: list[SourceFile] = []
    sections = _load(found.path, destination, notes, sources)
    programs = {name: section for name, section in sections.items() if name.startswith("program:")}
    counts = {_own_name(name): Options(section, notes).integer("numprocs") or 1 for name, section in programs.items()}
    names = service_names(counts, counts)
    own = Options(sections.get("supervisord"), notes)
    shared = _shared(own, destination, notes)
    groups = _groups(sections, names, notes)
    services: dict[str, dict[str, Any]] = {}
    priorities: dict[str, int] = {}
    for name, section in programs.items():
        program_name = _own_name(name)
        options = Options(section, notes)
        program = Program(
            options, program_name, names[program_name], shared, groups.get(program_name, ("", FIRST_PRIORITY))
        )
        for label, service in program.services({*names.values(), *services}).items():
            services[label] = service
            if not service.get("profiles"):
                priorities[label] = program.priority
    _order(services, priorities)
    env = environment(own, Expansions("", {}), ("env",))
    own.refuse_all(LEFT_OUT)
    own.finish()
    _refuse_sections(sections, notes)
    if not programs:
        raise source_error(found.path, "has no [program:NAME] section, and no file that it includes here has one")
    return Imported(tool=TOOL, sources=tuple(sources), services=services, env=env, notes=notes.in_order())


def _own_name(section: str) -> str:
    """Return the name of a program or group from that of its section: `web` of `program:web`."""
    return section.partition(":")[2].strip()


def _load(path: Path, destination: Destination, notes: Notes, sources: list[SourceFile]) -> dict[str, Section]:
    """Return the sections of a file and of those that it includes; an option of a later file wins."""
    sections = _parse(path, destination, sources)
    include = Options(sections.pop("include", None), notes)
    here = path.absolute().parent
    files = include.marked("files")
    if files is None:
        include.finish()
        return sections
    for pattern in Expansions("", {}).convert(files).split():
        matches = sorted(match for match in glob.glob(os.path.join(here, pattern)) if os.path.isfile(match))
        if not matches:
            include.refuse("files", f"no file matches {pattern}")
        if len(sources) + len(matches) > MOST_FILES:
            raise source_error(path, f"includes more than {MOST_FILES} files", include.span("files").line)
        for match in matches:
            sections = merge_sections(sections, _parse(Path(match), destination, sources))
    include.finish()
    return sections


def _parse(path: Path, destination: Destination, sources: list[SourceFile]) -> dict[str, Section]:
    text = read_source(path)
    name = destination.shown(path)
    sources.append(source_file(name, text, ";#"))
    # As supervisord does it: the directory of the file in which it stands.
    return parse_ini(with_here(text, str(path.absolute().parent)), name)


def _shared(own: Options, destination: Destination, notes: Notes) -> Shared:
    """Return what `[supervisord]` says for all programs."""
    directory = Expansions(str(destination.source_dir), {}).convert(own.marked("directory") or ".", relative=True)
    return Shared(destination, notes, directory, own.text("user") or "", own.text("umask") or "")


def _groups(sections: dict[str, Section], names: dict[str, str], notes: Notes) -> dict[str, tuple[str, int]]:
    """Return the group of each program that is in one, with the group's priority."""
    found: dict[str, tuple[str, int]] = {}
    for name, section in sections.items():
        if not name.startswith("group:"):
            continue
        options = Options(section, notes)
        priority = options.integer("priority")
        for program in (options.text("programs") or "").split(","):
            if program.strip() in names:
                found[program.strip()] = (
                    name.partition(":")[2].strip(),
                    FIRST_PRIORITY if priority is None else priority,
                )
            elif program.strip():
                options.refuse("programs", f"there is no [program:{program.strip()}]")
        options.finish()
    return found


def _order(services: dict[str, dict[str, Any]], priorities: dict[str, int]) -> None:
    """Let each service start after those of the next smaller priority; those that do not run are no obstacle."""
    levels = sorted(set(priorities.values()))
    for before, level in itertools.pairwise(levels):
        earlier = [name for name, priority in priorities.items() if priority == before]
        for name in (name for name, priority in priorities.items() if priority == level):
            services[name]["depends_on"] = {other: {"condition": "started", "required": False} for other in earlier}


def _refuse_sections(sections: dict[str, Section], notes: Notes) -> None:
    for name, section in sections.items():
        kind = name.partition(":")[0]
        if kind in ("program", "group", "supervisord"):
            continue
        Options(section, notes).refuse_section(SECTIONS.get(kind, "is no section of supervisord"))
