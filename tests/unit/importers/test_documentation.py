"""docs/moving-in.md is true: each source file on it becomes the manifest that stands after it."""

from pathlib import Path

import pytest

from minikube.importers import import_source, write_manifest
from minikube.manifest import load_manifest
from tests.documents import SOURCES, Block, blocks

PAGE = "docs/moving-in.md"
FOUND = blocks(PAGE)
PAIRS = [(block, FOUND[at + 1]) for at, block in enumerate(FOUND) if f"{block.language} {block.kind}" in SOURCES]


@pytest.mark.parametrize(("source", "result"), PAIRS, ids=lambda block: block.kind)
def test_each_source_of_the_page_becomes_the_manifest_after_it(source: Block, result: Block, tmp_path: Path) -> None:
    project = tmp_path / "shop"
    project.mkdir()
    (project / source.kind).write_text(source.text)
    assert result.kind == "imported", source.place
    assert write_manifest(import_source(project, None)) == result.text
    (project / "supervisor.toml").write_text(result.text)
    load_manifest(project / "supervisor.toml", {})
