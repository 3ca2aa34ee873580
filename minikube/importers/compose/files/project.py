"""All files of a Compose project as one: `include`, an override file beside it, and `extends`.

A relative path belongs to the directory of the file that has it. Spans name the file, so `ComposeProject.directory_of` finds it.
"""

import os
from collections.abc import Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from minikube.errors import UsageError
from minikube.importers.compose.files.merge import merge_tables, normalize_service
from minikube.importers.detect import Found
from minikube.importers.result import Notes, SourceFile, Span
from minikube.importers.source import Destination, place_error, read_source, real_path, source_error, source_file
from minikube.importers.yaml_nodes import Entry, Items, Node, Scalar, Table, is_nothing, parse_yaml
from minikube.manifest.variables.env_file import EnvFileError, parse_env_file

DEFAULT_NAMES = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml")
OVERRIDE_NAMES = (
    *("compose.override.yml", "compose.override.yaml"),
    *("docker-compose.override.yml", "docker-compose.override.yaml"),
)
"""The first of them beside a file with a default name is merged into it."""

SECTIONS = ("services", "volumes", "networks", "secrets", "configs", "models")
MAX_FILES = 50
"""How many files a project may have, and how many services one may extend one after the other."""


class ComposeModel(Struct, frozen=True):
    """A merged Compose project: normalized services without `extends`, and the other sections by name."""

    services: Mapping[str, Entry]
    sections: Mapping[str, Mapping[str, Entry]]
    top: Mapping[str, Entry]
    """The other keys of the file, such as `name`."""


class ComposeProject:
    """The files of a Compose project, read once each."""

    def __init__(self, found: Found, destination: Destination, notes: Notes) -> None:
        self.found = found
        self.destination = destination
        self.notes = notes
        self.has_volume_note = False
        """Whether the note on the data of named volumes was made."""
        self.sources: dict[Path, SourceFile] = {}
        self._directories: dict[str, Path] = {}
        self._roots: dict[Path, Table] = {}
        self._models: dict[tuple[Path, Path], ComposeModel] = {}
        """The model of each file by its path and directory: many files may include the same one."""
        self.dotenv = _read_dotenv(destination.source_dir / ".env")
        """The variables in `.env`."""

    def directory_of(self, span: Span) -> Path:
        """Return the directory to which relative paths at `span` belong."""
        return self._directories.get(span.file, self.destination.source_dir)

    def nothing(self) -> UsageError:
        """Return the error of a project without a service that can be imported: the first reason for it, with its place."""
        root = next(iter(self._roots.values()))
        if reason := self.notes.first_refused("services"):
            return place_error(*reason)
        if entry := root.entries.get("services"):
            return place_error(entry.span, "services: has no service with image or build")
        return place_error(root.span, "has no services — a Compose file has them, each with image or build")

    def load(self) -> ComposeModel:
        """Return the whole project. Raises UsageError for a file that cannot be read, and where `extends` goes in a circle."""
        directory = self.destination.source_dir
        first, *others = self._names()
        model = self._model(directory / first, directory, ())
        for name in others:
            model = _merged_models(model, self._model(directory / name, directory, ()))
        return model

    def _names(self) -> list[str]:
        """Return the files that Compose merges: those of COMPOSE_FILE in `.env` for a directory, else the file and its override."""
        name = self.found.path.name
        if name.lower() not in DEFAULT_NAMES:
            return [name]
        listed = self.dotenv.get("COMPOSE_FILE")
        if listed and not self.found.named:
            return [word for word in listed.split(self.dotenv.get("COMPOSE_PATH_SEPARATOR") or ":") if word] or [name]
        overrides = [other for other in OVERRIDE_NAMES if os.path.isfile(self.destination.source_dir / other)]
        return [name, *overrides[:1]]

    def _read(self, path: Path, directory: Path) -> Table:
        if path in self._roots:
            return self._roots[path]
        if len(self._roots) >= MAX_FILES:
            raise source_error(self.found.path.name, f"more than {MAX_FILES} files belong to the project")
        name = self.destination.shown(path)
        text = read_source(path, name)
        self._directories[name] = directory
        self.sources[path] = source_file(name, text)
        root = parse_yaml(text, name)
        if not isinstance(root, Table):
            raise place_error(root.span, f"expected a table with services, got {root.kind}")
        self._roots[path] = root
        return root

    def _model(self, path: Path, directory: Path, including: tuple[Path, ...]) -> ComposeModel:
        """Return the model of one file, with what it includes. `including` are the files that include it."""
        if path in including:
            raise source_error(self.destination.shown(path), "is included by a file that it includes")
        if (path, directory) in self._models:
            return self._models[path, directory]
        root = self._read(path, directory)
        sections = {key: self._section(root, key) for key in SECTIONS}
        top = {key: entry for key, entry in root.entries.items() if key not in (*SECTIONS, "include")}
        known = {
            name: normalize_service(entry.value)
            for name, entry in sections["services"].items()
            if isinstance(entry.value, Table)
        }
        services: dict[str, Entry] = {}
        for name, entry in sections["services"].items():
            if name in known:
                services[name] = replace(entry, value=self._extended(known[name], known, path, (name,)))
            elif entry.value.tag == "!reset":
                services[name] = entry
            elif name.startswith("x-"):
                continue
            else:
                self.notes.refuse(entry.span, f"services.{name}", f"expected a table, got {entry.value.kind}")
        model = ComposeModel(services, sections, top)
        if include := root.entries.get("include"):
            model = self._with_included(model, include, path, directory, including)
        self._models[path, directory] = model
        return model

    def _section(self, root: Table, key: str) -> dict[str, Entry]:
        entry = root.entries.get(key)
        if entry is None:
            return {}
        if isinstance(entry.value, Table):
            return dict(entry.value.entries)
        if not is_nothing(entry.value):
            self.notes.refuse(entry.span, key, f"expected a table, got {entry.value.kind}")
        return {}

    # ------------------------------------------------------------ include

    def _with_included(
        self, model: ComposeModel, include: Entry, path: Path, directory: Path, including: tuple[Path, ...]
    ) -> ComposeModel:
        items = include.value.items if isinstance(include.value, Items) else (include.value,)
        for item in items:
            paths, base = self._included_files(item, directory)
            included: ComposeModel | None = None
            for file in paths:
                try:
                    other = self._model(file, base or file.parent, (*including, path))
                except UsageError as error:
                    self.notes.refuse(
                        item.span, "include", f"{error} — import that file on its own, and name both with -f"
                    )
                    continue
                included = other if included is None else _merged_models(included, other)
            if included is not None:
                model = _merged_models(included, model)
        return model

    def _included_files(self, item: Node, directory: Path) -> tuple[list[Path], Path | None]:
        """Return the files of an item of `include`, and the directory that they say their paths belong to."""
        base = None
        texts: list[Node] = [item]
        if isinstance(item, Table):
            given = item.get("path")
            texts = list(given.items) if isinstance(given, Items) else [given] if given else []
            if isinstance(where := item.get("project_directory"), Scalar):
                base = real_path(directory / where.text)
            if "env_file" in item.entries:
                text = "its variables are those of .env beside the manifest — copy what it needs there"
                self.notes.refuse(item.entries["env_file"].span, "include.env_file", text)
        files = []
        for node in texts:
            if not isinstance(node, Scalar) or "://" in node.text or "$" in node.text or not node.text:
                self.notes.refuse(item.span, "include", "only files by their path are read — import it on its own")
            else:
                files.append(real_path(directory / node.text))
        return files, base

    # ------------------------------------------------------------ extends

    def _extended(self, service: Table, known: Mapping[str, Node], path: Path, extending: tuple[str, ...]) -> Table:
        entry = service.entries.get("extends")
        if entry is None:
            return service
        own = replace(service, entries={key: value for key, value in service.entries.items() if key != "extends"})
        name, file = _extends_target(entry.value)
        span = entry.span
        if not name or "://" in file or "$" in file:
            self.notes.refuse(
                span, f"services.{extending[0]}.extends", "expected the name of a service, or service and file"
            )
            return own
        if file:
            path = real_path(self.directory_of(span) / file)
            try:
                root = self._read(path, path.parent)
            except UsageError as error:
                raise place_error(span, f"extends: {error}") from None
            known = {
                key: normalize_service(item.value)
                for key, item in self._section(root, "services").items()
                if isinstance(item.value, Table)
            }
        step = f"{path}:{name}"
        if step in extending or (not file and name == extending[0] and len(extending) == 1):
            raise place_error(span, f"services.{extending[0]}.extends goes in a circle")
        if len(extending) > MAX_FILES:
            raise place_error(span, f"services.{extending[0]}.extends goes on over {MAX_FILES} services")
        base = known.get(name)
        if not isinstance(base, Table):
            raise place_error(span, f"services.{extending[0]}.extends: there is no service {name}")
        base = self._extended(base, known, path, (*extending, step))
        return replace(own, entries=merge_tables(base.entries, own.entries))


def _extends_target(node: Node) -> tuple[str, str]:
    """Return the service and the file of `extends`; the file is empty for the same one."""
    if isinstance(node, Scalar):
        return node.text, ""
    if not isinstance(node, Table):
        return "", ""
    service, file = node.get("service"), node.get("file")
    return (service.text if isinstance(service, Scalar) else ""), (file.text if isinstance(file, Scalar) else "")


def _merged_models(base: ComposeModel, over: ComposeModel) -> ComposeModel:
    sections = {key: merge_tables(base.sections[key], over.sections[key]) for key in SECTIONS}
    return ComposeModel(merge_tables(base.services, over.services), sections, {**base.top, **over.top})


def _read_dotenv(path: Path) -> dict[str, str]:
    """Return the variables in `.env`; none where it cannot be read: the manifest's validation says so."""
    try:
        return parse_env_file(read_source(path))
    except (UsageError, EnvFileError):
        return {}
