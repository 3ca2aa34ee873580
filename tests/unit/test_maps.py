"""The maps of the source tree are complete: each folder's docstring names every module in it, and folders stay small."""

import ast
import re
from pathlib import Path

import pytest

from tests.paths import ROOT

PACKAGES = sorted(path.parent for name in ("minikube", "tui") for path in (ROOT / name).rglob("__init__.py"))
MOST_MODULES = 14
"""A folder with more files is one in which a reader searches."""


def modules(package: Path) -> list[str]:
    """Return the names of the modules and sub-packages of a folder."""
    found = [path.stem for path in package.glob("*.py") if not path.stem.startswith("__")]
    return sorted(found + [path.parent.name for path in package.glob("*/__init__.py")])


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folders_docstring_names_every_module_in_it(package: Path) -> None:
    if package == ROOT / "minikube":
        text = (ROOT / "ARCHITECTURE.md").read_text()  # the package's docstring is for service authors
    else:
        text = ast.get_docstring(ast.parse((package / "__init__.py").read_text())) or ""
    words = set(re.findall(r"\w+", text))
    assert [name for name in modules(package) if name not in words] == []


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_folder_has_about_a_dozen_modules_at_most(package: Path) -> None:
    assert len(list(package.glob("*.py"))) <= MOST_MODULES
