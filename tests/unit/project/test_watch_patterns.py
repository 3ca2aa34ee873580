"""Which files are a service's sources: patterns, and what is ignored."""

from pathlib import Path

import pytest

from minikube.project.watch_patterns import IgnoreRules, base_of, directories, is_source, parse_rules

TREE = [
    "src/a.py",
    "src/a.txt",
    "src/gen/b.py",
    "src/deep/er/c.py",
    "lib/d.py",
    "x.conf",
    "build/out/e.js",
    "src/logs/l.py",
]


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    for name in TREE:
        path = tmp_path / "project" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared" / "s.py").touch()
    return tmp_path / "project"


def sources(tree: Path, *patterns: str) -> list[str]:
    rules, ignored = parse_rules(patterns, tree), IgnoreRules()
    watched = set(directories(rules, ignored))
    found = []
    for path in sorted(tree.parent.rglob("*")):
        base = base_of(path, rules)
        if path.is_file() and path.parent in watched and base and is_source(path, rules) and not ignored(path, base):
            found.append(
                str(path.relative_to(tree)) if path.is_relative_to(tree) else f"../{path.relative_to(tree.parent)}"
            )
    return found


@pytest.mark.parametrize(
    ("patterns", "names"),
    [
        (["src"], "src/a.py src/a.txt src/deep/er/c.py src/gen/b.py src/logs/l.py"),
        (["src/"], "src/a.py src/a.txt src/deep/er/c.py src/gen/b.py src/logs/l.py"),
        (["src/**/*.py"], "src/a.py src/deep/er/c.py src/gen/b.py src/logs/l.py"),
        (["src/*.py"], "src/a.py"),
        (["**/*.py", "!src/gen", "!**/logs"], "lib/d.py src/a.py src/deep/er/c.py"),
        (["src/**", "!**/*.txt", "src/a.txt"], "src/a.py src/a.txt src/deep/er/c.py src/gen/b.py src/logs/l.py"),
        (["x.conf", "lib/d.py"], "lib/d.py x.conf"),
        (["*.conf"], "x.conf"),
        (["../shared"], "../shared/s.py"),
        (["./lib"], "lib/d.py"),
        (["nope/**", "missing.py"], ""),
        (["!src"], ""),
    ],
)
def test_patterns_are_those_of_gitignore_from_the_manifests_directory(
    tree: Path, patterns: list[str], names: str
) -> None:
    assert sources(tree, *patterns) == names.split()


def test_an_absolute_pattern_is_taken_as_it_is(tree: Path) -> None:
    assert sources(tree, str(tree / "lib"), f"{tree}/*.conf") == ["lib/d.py", "x.conf"]


def test_a_gitignore_file_ignores_and_a_deeper_one_includes_again(tree: Path) -> None:
    (tree / ".git").mkdir()
    (tree / ".gitignore").write_text("*.txt\nlogs/\nbuild/\n")
    (tree / "src" / "deep" / ".gitignore").write_text("*.py\n")
    (tree / "src" / "deep" / "er" / ".gitignore").write_text("!c.py\n")
    names = "src/a.py src/deep/.gitignore src/deep/er/.gitignore src/deep/er/c.py src/gen/b.py"
    assert set(sources(tree, "src")) == set(names.split())
    assert tree / "src" / "logs" not in set(directories(parse_rules(["src"], tree), IgnoreRules()))


def test_lines_of_a_gitignore_file_that_are_no_patterns_are_skipped(tree: Path) -> None:
    (tree / ".gitignore").write_text("!\na\\\n*.txt\n/\n[\n")
    assert "src/a.txt" not in sources(tree, "**")
    assert "src/a.py" in sources(tree, "**")


def test_an_ignored_directory_that_a_pattern_names_is_included(tree: Path) -> None:
    (tree / ".git").mkdir()
    (tree / ".gitignore").write_text("build/\n")
    assert sources(tree, "build") == ["build/out/e.js"]
    assert "build/out/e.js" not in sources(tree, "**")


def test_files_of_other_tools_are_never_sources(tree: Path) -> None:
    for name in (
        "src/__pycache__/a.pyc",
        "src/.a.py.swp",
        "src/a.py~",
        "src/4913",
        "node_modules/m/x.js",
        ".minikube/x",
    ):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).touch()
    assert sources(tree, "src/*") == ["src/a.py", "src/a.txt"]
    assert not [name for name in sources(tree, "**") if "node_modules" in name or "minikube" in name]


def test_a_pattern_in_a_directory_that_may_not_be_entered_names_nothing(tree: Path, as_nobody: None) -> None:
    rules = parse_rules(["src", "lib/*.py"], tree)
    ignored = IgnoreRules()
    assert list(directories(rules, ignored)) == []
    assert not ignored(tree / "src" / "a.py", tree / "src", is_dir=False)
