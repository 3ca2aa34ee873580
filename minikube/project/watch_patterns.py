"""Which files are a service's sources: its `watch` patterns, without what `.gitignore` files and fixed rules leave out.

Patterns are those of `.gitignore`, seen from the manifest's directory: `src`, `src/**/*.py`, `!src/generated`, `../lib/**`.
The last pattern that matches a path decides. Reads directories and `.gitignore` files when called; watches nothing.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct
from pathspec import GitIgnoreSpec

ALWAYS_IGNORED = GitIgnoreSpec.from_lines(
    [
        ".git/",
        ".hg/",
        ".svn/",
        ".minikube/",
        "node_modules/",
        ".venv/",
        "__pycache__/",
        "*.py[cod]",
        ".mypy_cache/",
        ".pytest_cache/",
        ".ruff_cache/",
        "*.sw?",
        "*.swpx",
        "*~",
        ".#*",
        "#*#",
        "4913",
        "*___jb_*",
        ".DS_Store",
    ]
)
"""Never sources: files of other tools, and what editors write for a moment."""

IGNORE_FILE = ".gitignore"
_GLOB = re.compile(r"[*?\[]")


class Rule(Struct, frozen=True):
    """One pattern, split into the directory that it starts from and what has to match below it."""

    base: Path
    spec: GitIgnoreSpec
    negated: bool
    deep: bool
    """Whether files in subdirectories of `base` can match."""

    def matches(self, path: Path) -> bool:
        """Return whether the pattern matches the path, negated or not."""
        return path.is_relative_to(self.base) and self.spec.match_file(str(path.relative_to(self.base)))


def parse_rules(patterns: Iterable[str], directory: Path) -> tuple[Rule, ...]:
    """Return the rules of patterns that are relative to `directory`. Raise ValueError for a pattern that is wrong."""
    return tuple(_rule(pattern, directory) for pattern in patterns)


def _rule(pattern: str, directory: Path) -> Rule:
    negated = pattern.startswith("!")
    parts = pattern.removeprefix("!").rstrip("/").split("/")
    literal = next((index for index, part in enumerate(parts) if _GLOB.search(part)), len(parts))
    base = Path(os.path.normpath(directory / Path("/".join(parts[:literal])).expanduser()))
    rest = "/".join(parts[literal:])
    if not rest and not os.path.isdir(base):  # Path.is_dir raises PermissionError
        base, rest = base.parent, base.name
    return Rule(base, GitIgnoreSpec.from_lines([f"/{rest or '**'}"]), negated, not rest or "/" in rest or "**" in rest)


def is_source(path: Path, rules: Iterable[Rule]) -> bool:
    """Return whether the rules name the path; what `IgnoreRules` leave out is not looked at."""
    included = False
    for rule in rules:
        if rule.matches(path):
            included = not rule.negated
    return included


class IgnoreRules:
    """The rules of `.gitignore` files, each read once: make new rules when a file has changed."""

    def __init__(self) -> None:
        self._specs: dict[Path, GitIgnoreSpec | None] = {}
        """Directory → the rules of its `.gitignore`; None where it has none."""
        self._repositories: dict[Path, Path] = {}
        """Directory → the root of the repository that it is in."""

    def __call__(self, path: Path, base: Path, *, is_dir: bool = False) -> bool:
        """Return whether `path` is ignored. Rules above `base` do not count where they ignore `base` itself."""
        if ALWAYS_IGNORED.match_file(str(path.relative_to(base)) + "/" * is_dir):
            return True
        top = self._repository(base)
        # A manifest that names an ignored directory means it.
        if base != top and self._is_ignored(base, top, True):
            top = base
        return self._is_ignored(path, top, is_dir)

    def _is_ignored(self, path: Path, top: Path, is_dir: bool) -> bool:
        """Return what the `.gitignore` files from `top` down to the path say; the deepest one decides."""
        ignored = False
        if path == top or not path.is_relative_to(top):
            return False
        directories = [path.parent, *path.parent.parents]
        for directory in reversed(directories[: directories.index(top) + 1]):
            spec = self._spec(directory)
            if spec is not None:
                include = spec.check_file(str(path.relative_to(directory)) + "/" * is_dir).include
                ignored = ignored if include is None else include
        return ignored

    def _spec(self, directory: Path) -> GitIgnoreSpec | None:
        if directory not in self._specs:
            try:
                lines = (directory / IGNORE_FILE).read_text("utf-8", "replace").splitlines()
                self._specs[directory] = _parse_tolerantly(lines)
            except OSError:
                self._specs[directory] = None
        return self._specs[directory]

    def _repository(self, base: Path) -> Path:
        """Return the root of the repository that `base` is in, or `base` itself."""
        if base not in self._repositories:
            roots = (directory for directory in (base, *base.parents) if os.path.exists(directory / ".git"))
            self._repositories[base] = next(roots, base)
        return self._repositories[base]


def _parse_tolerantly(lines: list[str]) -> GitIgnoreSpec:
    """Return the rules of the lines that are patterns; git skips the other lines, too."""
    good = []
    for line in lines:
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError:
            continue
        good.append(line)
    return GitIgnoreSpec.from_lines(good)


def directories(rules: Iterable[Rule], ignored: IgnoreRules) -> Iterator[Path]:
    """Yield every directory in which a file could match; some may come twice."""
    for rule in rules:
        if rule.negated or not os.path.isdir(rule.base):
            continue
        yield rule.base
        if rule.deep:
            yield from _below(rule.base, rule.base, ignored)


def _below(directory: Path, base: Path, ignored: IgnoreRules) -> Iterator[Path]:
    try:
        with os.scandir(directory) as entries:
            found = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return  # it was removed meanwhile, or may not be read
    for path in found:
        if not ignored(path, base, is_dir=True):
            yield path
            yield from _below(path, base, ignored)


def links_in(paths: Iterable[Path]) -> Iterator[Path]:
    """Yield the symbolic links in these directories."""
    for path in paths:
        try:
            with os.scandir(path) as entries:
                found = [Path(entry.path) for entry in entries if entry.is_symlink()]
        except OSError:
            continue
        yield from found


def base_of(path: Path, rules: Iterable[Rule]) -> Path | None:
    """Return the base of the first rule that the path is below; None where there is none."""
    return next((rule.base for rule in rules if not rule.negated and path.is_relative_to(rule.base)), None)
