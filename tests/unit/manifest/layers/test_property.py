"""Any manifests as layers: what holds for all of them."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from minikube.manifest.diagnostics import ManifestReading
from minikube.manifest.dump import dump_manifest
from minikube.manifest.layers.merge import MANIFEST, merge
from minikube.manifest.layers.origins import find_origins
from minikube.manifest.load import build_manifest
from minikube.manifest.tree.node import Node, Source, make_tree
from minikube.manifest.tree.positions import Spot
from minikube.project_dir import ManifestFiles
from tests.unit.manifest.cases import ROOT
from tests.unit.manifest.schema.test_property import LOOSE, SCHEMA, values

SERVICES = ["a", "b", "c"]


@st.composite
def manifests(draw: st.DrawFn) -> dict[str, Any]:
    """Manifests whose services have few names, and extend and need each other."""
    raw: dict[str, Any] = draw(values(SCHEMA))
    service = values(SCHEMA["definitions"]["service"])
    raw["services"] = draw(st.dictionaries(st.sampled_from(SERVICES), service, max_size=3))
    for table in raw["services"].values():
        if draw(st.booleans()):
            table["extends"] = draw(st.sampled_from([*SERVICES, "nope"]))
        if draw(st.booleans()):
            table["depends_on"] = draw(st.lists(st.sampled_from(SERVICES), max_size=2))
    return raw


def tree(raw: dict[str, Any], index: int = 0) -> Node:
    return make_tree(raw, Spot(0, 0), Source(f"f{index}.toml", "", index))


@LOOSE
@given(manifests())
def test_a_manifest_over_itself_or_over_an_empty_one_is_the_same(raw: dict[str, Any]) -> None:
    for base, over in ((raw, raw), (raw, {}), ({}, raw)):
        assert merge(tree(base), tree(over, 1), MANIFEST).plain() == raw


@LOOSE
@given(st.lists(manifests(), min_size=1, max_size=3))
def test_any_files_make_a_manifest_or_problems_with_places(raws: list[dict[str, Any]]) -> None:
    """Nothing raises, each problem names one of the files, and each value of a good manifest has an origin."""
    merged = tree(raws[0])
    for index, raw in enumerate(raws[1:], 1):
        merged = merge(merged, tree(raw, index), MANIFEST)
    reading = ManifestReading(merged, ROOT, {})
    manifest = build_manifest(reading, ManifestFiles(ROOT / "f0.toml"))
    files = {f"f{index}.toml" for index in range(len(raws))}
    assert {problem.file for problem in (*reading.problems, *reading.warnings)} <= files
    assert all(problem.line and problem.column for problem in reading.problems)
    if not reading.problems:
        origins = find_origins(reading, dump_manifest(manifest))
        assert {origin.file for origin in origins} <= {*files, None}
