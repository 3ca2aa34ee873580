"""The files that make one manifest: the manifest itself, and files with keys that are to hold in place of its own.

Standard library only, because every short command imports it. It refuses to read the files.
"""

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from minikube.defaults import DEFAULT_FILE, OVERRIDE_FILE


@dataclass(frozen=True, slots=True)
class ManifestFiles:
    """The files of one manifest. The directory of the first one is the project's; later files win."""

    first: Path
    overrides: tuple[Path, ...] = ()
    finds_override: bool = False
    """Whether `supervisor.override.toml` beside the first file is the last one wherever it exists."""

    @property
    def override(self) -> Path:
        """The path of `supervisor.override.toml` beside the first file."""
        return self.first.parent / OVERRIDE_FILE

    def existing(self) -> tuple[Path, ...]:
        """Return all files; `supervisor.override.toml`, where it is looked for, only while it exists."""
        found = (self.override,) if self.finds_override and os.path.lexists(self.override) else ()
        return (self.first, *self.overrides, *found)

    def possible(self) -> tuple[Path, ...]:
        """Return all files, and `supervisor.override.toml` also while it does not exist, where it is looked for."""
        return (self.first, *self.overrides, *((self.override,) if self.finds_override else ()))

    def map(self, change: Callable[[Path], Path]) -> "ManifestFiles":
        """Return the files with each path changed by `change`."""
        return ManifestFiles(change(self.first), tuple(map(change, self.overrides)), self.finds_override)

    def __str__(self) -> str:
        return " + ".join(map(str, self.existing()))


def files_at(path: Path) -> ManifestFiles:
    """Return the files that a path alone names: a file is the only one; a directory has the default ones."""
    if os.path.isdir(path):  # Path.is_dir raises PermissionError
        return ManifestFiles(path / DEFAULT_FILE, finds_override=True)
    return ManifestFiles(path)
