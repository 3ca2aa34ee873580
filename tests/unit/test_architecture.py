"""ARCHITECTURE.md is true: the files and names of its journeys exist."""

import re
from pathlib import Path

import pytest

from tests.paths import ROOT

TEXT = (ROOT / "ARCHITECTURE.md").read_text()
JOURNEYS = TEXT.partition("## Five journeys")[2].partition("\n## ")[0]
STOPS = re.findall(r"`([\w/]+\.py)`(?:\s+`(?:\w+\.)?(\w+)`)?", JOURNEYS)


def path_of(name: str) -> Path:
    """Return the path of a file as the journeys name it."""
    candidates = [ROOT / name, ROOT / "minikube" / name, ROOT / "minikube/supervisor" / name]
    return next((path for path in candidates if path.exists()), candidates[0])


@pytest.mark.parametrize(("file", "name"), STOPS)
def test_each_stop_of_a_journey_exists(file: str, name: str) -> None:
    source = path_of(file).read_text()
    assert not name or re.search(rf"\b(class|def) {name}\b", source)


def test_each_journey_has_five_to_eight_stops() -> None:
    journeys = [part for part in JOURNEYS.split("\n\n") if part.startswith("**")]
    assert [journey for journey in journeys if not 5 <= len(re.findall(r"\.py`", journey)) <= 8] == []


def test_each_folder_of_the_table_exists() -> None:
    rows = TEXT.partition("## Folders")[2].partition("\n## ")[0]
    folders = re.findall(r"`((?:minikube|tui|services|tests)/[\w/]*)`", rows)
    assert [folder for folder in folders if not (ROOT / folder).exists() and not (ROOT / f"{folder}.py").exists()] == []


def test_each_file_of_the_recipes_exists() -> None:
    recipes = (ROOT / "CONTRIBUTING.md").read_text().partition("## Recipes")[2]
    files = re.findall(r"`((?:minikube|tui|tests|docs)/[\w/.]+|CHANGELOG\.md)`", recipes)
    assert files
    assert [file for file in files if not (ROOT / file).exists()] == []
