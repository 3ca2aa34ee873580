"""Mounts: `volumes` in short and long form, the named volumes of the file, and `tmpfs`."""

import re
from collections.abc import Mapping

from minikube.importers.compose import values
from minikube.importers.compose.draft import ServiceDraft
from minikube.importers.compose.variables import split_outside
from minikube.importers.result import Notes, Span
from minikube.importers.yaml_nodes import Entry, Items, Scalar, Table
from minikube.manifest.keys.volumes import VOLUME_OPTIONS, parse_volume

_DRIVE = re.compile(r"[A-Za-z]:[\\/]")


def read_volumes(draft: ServiceDraft, entry: Entry) -> None:
    """Read `volumes`."""
    items = entry.value.items if isinstance(entry.value, Items) else (entry.value,)
    for item in items:
        if isinstance(item, Table):
            _long_form(draft, item)
        elif (text := draft.text(item, "volumes", "volumes")) is not None:
            _short_form(draft, text, item.span)


def _short_form(draft: ServiceDraft, text: str, span: Span) -> None:
    if _DRIVE.match(text):
        draft.refuse(span, "volumes", "is a path of Windows — mount a path of this machine")
        return
    parts = split_outside(text, ":")
    if len(parts) > 3:
        draft.refuse(span, "volumes", "expected source:/target:options")
        return
    source, target, options = [*parts, "", ""][:3] if len(parts) > 1 else ["", parts[0], ""]
    _write(draft, span, source, target, [word for word in options.split(",") if word])


def _long_form(draft: ServiceDraft, table: Table) -> None:
    texts: dict[str, str] = {}
    for key in ("type", "source", "target", "consistency"):
        if (
            key in table.entries
            and (text := draft.text(table.entries[key].value, f"volumes.{key}", "volumes")) is not None
        ):
            texts[key] = text
    kind, target = texts.get("type", "volume" if "source" in texts else ""), texts.get("target", "")
    if kind == "tmpfs":
        _tmpfs(draft, table, target)
        return
    if kind not in ("bind", "volume", ""):
        draft.refuse(
            table.span, "volumes", "only bind, volume and tmpfs have a counterpart — mount it with engine_args"
        )
        return
    options = [texts["consistency"]] if texts.get("consistency") in VOLUME_OPTIONS else []
    if "read_only" in table.entries and draft.flag(table.entries["read_only"], "volumes.read_only"):
        options.insert(0, "ro")
    bind = draft.entries(table.entries["bind"], "volumes.bind") if "bind" in table.entries else {}
    selinux = bind["selinux"].value if "selinux" in bind else None
    if isinstance(selinux, Scalar) and selinux.text in ("z", "Z"):
        options.append(selinux.text)
    if "create_host_path" in bind and not draft.flag(bind["create_host_path"], "volumes.bind.create_host_path"):
        text = "the engine may create a directory that is missing"
        draft.inexact(bind["create_host_path"].span, "volumes.bind.create_host_path", text, "volumes")
    draft.refuse_unknown(bind, "volumes.bind", ("selinux", "create_host_path"))
    if "volume" in table.entries:
        draft.refuse_unknown(draft.entries(table.entries["volume"], "volumes.volume"), "volumes.volume", ())
    known = ("type", "source", "target", "consistency", "read_only", "bind", "volume", "tmpfs")
    rest = {key: entry for key, entry in table.entries.items() if not key.startswith("x-")}
    draft.refuse_unknown(rest, "volumes", known)
    source = texts.get("source", "")
    if kind == "bind" and source and not source.startswith(("/", ".", "~", "${")):
        source = f"./{source}"
    _write(draft, table.span, source, target, options)


def _write(draft: ServiceDraft, span: Span, source: str, target: str, options: list[str]) -> None:
    """Add a mount to the service."""
    target = target.rstrip("/") or "/" if target.startswith("/") else target
    volumes = draft.out.setdefault("volumes", [])
    position = len(volumes)
    mode = ",".join(word for word in options if word in VOLUME_OPTIONS)
    if dropped := [word for word in options if word not in VOLUME_OPTIONS]:
        draft.inexact(span, "volumes", f"the option {dropped[0][:20]} is left out", "volumes", position)
    if source.startswith(("./", "../", "~", "/", "${")) or source in (".", ".."):
        source = draft.file_path(source, span, "volumes", "volumes", position)
    elif source:
        named = _named(draft, span, source, target, mode, position)
        if named is None:
            _drop_empty(draft)
            return
        source = named
    text = ":".join(part for part in (source, target, mode) if part)
    if "${" not in text and (not text.count(":") or source):
        try:
            parse_volume(text)
        except ValueError:
            draft.refuse(span, "volumes", "expected source:/target:options, with an absolute path in the container")
            _drop_empty(draft)
            return
    volumes.append(text)


def _drop_empty(draft: ServiceDraft) -> None:
    if not draft.out["volumes"]:
        del draft.out["volumes"]


def _named(draft: ServiceDraft, span: Span, name: str, target: str, mode: str, position: int) -> str | None:
    """Return the source of a named volume; None where it is mounted by the engine's own words."""
    entry = draft.names.sections["volumes"].get(name)
    settings = entry.value if entry else None
    if not isinstance(settings, Table):
        return _new_volume(draft, span, name, target, mode, position)
    external = settings.get("external")
    real = settings.get("name")
    if isinstance(external, Table):  # the form of old files: external: { name: x }
        real = external.get("name") or real
    is_external = external is not None and not (isinstance(external, Scalar) and external.value is False)
    if is_external or isinstance(real, Scalar):
        text = draft.text(real, "volumes", "engine_args") if real else name
        if text:
            note = "the volume keeps its name at the engine" + (", and has to exist" if is_external else "")
            word = ":".join(part for part in (text, target, mode) if part)
            draft.add_engine_args(span, "volumes", f"--volume={word}", note=note)
        return None
    options = settings.get("driver_opts")
    bound = _bound(draft, span, options, position) if isinstance(options, Table) else None
    return bound or _new_volume(draft, span, name, target, mode, position)


def _new_volume(draft: ServiceDraft, span: Span, name: str, target: str, mode: str, position: int) -> str:
    """Return the name of a volume; note once in an import that it has not the data of the one in Compose."""
    if not draft.project.has_volume_note:
        draft.project.has_volume_note = True
        old = f"{draft.names.compose_project}_{name}"
        word = ":".join(part for part in (old, target, mode) if part)
        note = (
            f"a named volume is a new one here, without the data of {old}"
            f' — engine_args = ["--volume={word}"] in place of this line goes on with it'
        )
        draft.inexact(span, "volumes", note, "volumes", position)
    return name


def _bound(draft: ServiceDraft, span: Span, options: Table, position: int) -> str | None:
    """Return the directory of a named volume that is bound to one; another option of its driver is refused where it stands."""
    device, kind = options.get("device"), options.get("o")
    if isinstance(device, Scalar) and isinstance(kind, Scalar) and "bind" in kind.text.split(","):
        text = draft.text(device, "volumes.driver_opts.device", "volumes", position)
        return draft.file_path(text, device.span, "volumes", "volumes", position) if text else None
    return None


def read_volume_section(entries: Mapping[str, Entry], notes: Notes) -> None:
    """Note what the top-level `volumes` say that a project's volume does not have."""
    reasons = {
        "driver": "the volume is a local one of the engine — mount a directory, or make it external",
        "driver_opts": "the volume has the engine's defaults — make it yourself, and say external: true",
        "labels": "volumes get no labels",
    }
    for name, entry in entries.items():
        table = entry.value
        if not isinstance(table, Table):
            continue
        external = table.get("external")
        if isinstance(external, Table) or (isinstance(external, Scalar) and external.value is not False):
            continue
        options = table.get("driver_opts")
        kind = options.get("o") if isinstance(options, Table) else None
        bound = isinstance(kind, Scalar) and "bind" in kind.text.split(",")
        for key, item in table.entries.items():
            value = item.value.text if isinstance(item.value, Scalar) else None
            exact = (
                key in ("name", "external")
                or key.startswith("x-")
                or (key == "driver" and value in ("local", "", "default"))
            )
            if not exact and not (key == "driver_opts" and (bound or value is not None)):
                notes.refuse(item.span, f"volumes.{name}.{key}", reasons.get(key, "has no counterpart in a manifest"))


def _tmpfs(draft: ServiceDraft, table: Table, target: str) -> None:
    settings = draft.entries(table.entries["tmpfs"], "volumes.tmpfs") if "tmpfs" in table.entries else {}
    options = []
    for key in ("size", "mode"):
        if key in settings and (text := draft.text(settings[key].value, f"volumes.tmpfs.{key}")):
            try:
                options.append(f"{key}={values.size(text).lower() if key == 'size' else _octal(text)}")
            except ValueError:
                draft.refuse(settings[key].span, f"volumes.tmpfs.{key}", "expected a number")
    draft.refuse_unknown(settings, "volumes.tmpfs", ("size", "mode"))
    if not target.startswith(("/", "${")):
        draft.refuse(table.span, "volumes", "expected target, an absolute path in the container")
        return
    draft.add_engine_args(table.span, "volumes", f"--tmpfs={target}" + (f":{','.join(options)}" if options else ""))


def _octal(text: str) -> str:
    if not re.fullmatch(r"[0-7]{1,5}", text.removeprefix("0o")):  # written as an octal number, with or without a prefix
        raise ValueError
    return text.removeprefix("0o")


def read_tmpfs(draft: ServiceDraft, entry: Entry) -> None:
    """Read `tmpfs`: directories in memory."""
    for text in draft.texts(entry.value, "tmpfs") or ():
        if text.startswith(("/", "${")):
            draft.add_engine_args(entry.span, "tmpfs", f"--tmpfs={text}")
        else:
            draft.refuse(entry.span, "tmpfs", "expected an absolute path in the container")
