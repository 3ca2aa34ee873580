"""Which files a service is made of (floor 3): its `watch` patterns, less what `.gitignore` and common sense leave out.

Patterns are those of `.gitignore`, seen from the manifest's directory: `src`, `src/**/*.py`, `!src/generated`, `../lib/**`.
The last one that matches a path decides. Looks at directories and at `.gitignore` files when asked; it watches nothing.
"""

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from msgspec import Struct
from pathspec import GitIgnoreSpec

NEVER = GitIgnoreSpec.from_lines(
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
"""What no service's sources are: other tools' own, and what editors write for a moment."""

IGNORE_FILE = ".gitignore"
_GLOB = re.compile(r"[*?\[]")


class Rule(Struct, frozen=True):
    """One pattern, split into the directory that it starts from and what has to match below it."""

    base: Path
    spec: GitIgnoreSpec
    negated: bool
    deep: bool
    """Whether files below `base`'s own directories can match."""

    def matches(self, path: Path) -> bool:
        return path.is_relative_to(self.base) and self.spec.match_file(str(path.relative_to(self.base)))


def parse_rules(patterns: Iterable[str], directory: Path) -> tuple[Rule, ...]:
    return tuple(_rule(pattern, directory) for pattern in patterns)


def _rule(pattern: str, directory: Path) -> Rule:
    negated = pattern.startswith("!")
    parts = pattern.removeprefix("!").rstrip("/").split("/")
    literal = next((place for place, part in enumerate(parts) if _GLOB.search(part)), len(parts))
    base = Path(os.path.normpath(directory / Path("/".join(parts[:literal])).expanduser()))
    rest = "/".join(parts[literal:])
    if not rest and not base.is_dir():
        base, rest = base.parent, base.name
    return Rule(base, GitIgnoreSpec.from_lines([f"/{rest or '**'}"]), negated, not rest or "/" in rest or "**" in rest)


def is_source(path: Path, rules: Iterable[Rule]) -> bool:
    """Whether a change of `path` is a change of what the rules name; `Ignored` is asked apart."""
    verdict = False
    for rule in rules:
        if rule.matches(path):
            verdict = not rule.negated
    return verdict


class Ignored:
    """`.gitignore` files, read once: make a new one when one of them has changed."""

    def __init__(self) -> None:
        self._specs: dict[Path, GitIgnoreSpec | None] = {}
        self._tops: dict[Path, Path] = {}

    def __call__(self, path: Path, base: Path, *, is_dir: bool = False) -> bool:
        """Whether `path` is left out. What stands above `base` does not count where it leaves out `base` itself."""
        if NEVER.match_file(str(path.relative_to(base)) + "/" * is_dir):
            return True
        top = self._top(base)
        if base != top and self._verdict(base, top, True):
            top = base
        return self._verdict(path, top, is_dir)

    def _verdict(self, path: Path, top: Path, is_dir: bool) -> bool:
        verdict = False
        directories = [path.parent, *path.parent.parents]
        for directory in reversed(directories[: directories.index(top) + 1]):
            spec = self._spec(directory)
            if spec is not None:
                include = spec.check_file(str(path.relative_to(directory)) + "/" * is_dir).include
                verdict = verdict if include is None else include
        return verdict

    def _spec(self, directory: Path) -> GitIgnoreSpec | None:
        if directory not in self._specs:
            try:
                lines = (directory / IGNORE_FILE).read_text("utf-8", "replace").splitlines()
                self._specs[directory] = _tolerant(lines)
            except OSError:
                self._specs[directory] = None
        return self._specs[directory]

    def _top(self, base: Path) -> Path:
        """The repository's root above `base`, or `base` itself."""
        if base not in self._tops:
            roots = (directory for directory in (base, *base.parents) if (directory / ".git").exists())
            self._tops[base] = next(roots, base)
        return self._tops[base]


def _tolerant(lines: list[str]) -> GitIgnoreSpec:
    """Without the lines that are no patterns: git passes over them, too."""
    good = []
    for line in lines:
        try:
            GitIgnoreSpec.from_lines([line])
        except ValueError:
            continue
        good.append(line)
    return GitIgnoreSpec.from_lines(good)


def directories(rules: Iterable[Rule], ignored: Ignored) -> Iterator[Path]:
    """Every directory in which a file could match; some may come twice."""
    for rule in rules:
        if rule.negated or not rule.base.is_dir():
            continue
        yield rule.base
        if rule.deep:
            yield from _below(rule.base, rule.base, ignored)


def _below(directory: Path, base: Path, ignored: Ignored) -> Iterator[Path]:
    try:
        with os.scandir(directory) as entries:
            found = [Path(entry.path) for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return  # it has just gone, or is not ours to read
    for path in found:
        if not ignored(path, base, is_dir=True):
            yield path
            yield from _below(path, base, ignored)


def base_of(path: Path, rules: Iterable[Rule]) -> Path | None:
    """The base of the first rule that a path lies below."""
    return next((rule.base for rule in rules if not rule.negated and path.is_relative_to(rule.base)), None)
