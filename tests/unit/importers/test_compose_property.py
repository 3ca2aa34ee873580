"""Whatever a Compose file holds: it becomes a manifest that validates, with notes, or one line says why not."""

import tomllib
from pathlib import Path
from typing import Any

import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minikube.errors import UsageError
from minikube.importers import import_source, write_manifest
from minikube.importers.compose.reader import READERS
from minikube.manifest import load_manifest

words = st.sampled_from(
    [
        *("", "a", "a b", "./x", "/x", "x:/y", "/a:/b:ro", "1", "0", "-1", "3.5", "30s", "512m", "yes", "no", "true"),
        *("host", "none", "service:a", "always", "on-failure:3", "SIGINT", "a=b", "x'y", "$", "$$", "${D:+e}", "80"),
        *("81:80", "0.0.0.0:82:80/udp", "90-91:90-91", "service_healthy", "CMD", "web", "é", "a\nb", "*", "[x"),
    ]
)
texts = words | st.sampled_from(["$B", "A=$B", "${C:-d}", "${D?e}", "${E-${F:-$G}}"])
"""Words, and variables: those may stand where any text may."""
scalars = st.one_of(words, st.text(max_size=6), st.integers(-5, 70000), st.booleans(), st.none(), st.floats(-5, 5))
keys = st.sampled_from(
    ["a", "web", "path", "test", "source", "target", "type", "condition", "limits", "size", "x-y", "é"]
)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | words, inner, max_size=3), max_leaves=6
)
checks = st.fixed_dictionaries(
    {"test": st.lists(words, max_size=3) | words},
    optional={"interval": words, "timeout": words, "retries": scalars, "disable": scalars, "start_period": words},
)
long_ports = st.fixed_dictionaries(
    {"target": scalars}, optional={"published": scalars, "protocol": words, "name": words}
)
shaped: dict[str, st.SearchStrategy[Any]] = {
    "healthcheck": checks,
    "ports": st.lists(long_ports | words, max_size=3),
    "volumes": st.lists(
        st.dictionaries(st.sampled_from(["type", "source", "target", "tmpfs"]), values) | words, max_size=3
    ),
    "depends_on": st.dictionaries(
        st.sampled_from(["web", "db", "a_b"]), st.fixed_dictionaries({"condition": words}) | st.none()
    ),
    "deploy": st.fixed_dictionaries(
        {}, optional={"replicas": scalars, "resources": st.fixed_dictionaries({"limits": values})}
    ),
    "extends": st.sampled_from(["web", "db", "x"]) | values,
    "environment": st.dictionaries(words, texts, max_size=3) | st.lists(texts, max_size=3),
    "command": texts | st.lists(texts, max_size=3),
    "entrypoint": texts | st.lists(texts, max_size=3),
    "labels": st.dictionaries(words, texts, max_size=3),
    "build": st.dictionaries(st.sampled_from(["context", "target", "args", "dockerfile"]), values) | words,
}


@st.composite
def services(draw: st.DrawFn) -> dict[str, Any]:
    names = draw(st.lists(st.sampled_from([*READERS, "extends", "x-a", "env_files", "other"]), max_size=6, unique=True))
    service: dict[str, Any] = {"image": "example/app"} if draw(st.integers(0, 5)) else {}
    return service | {name: draw(shaped[name] | values if name in shaped else values) for name in names}


files = st.fixed_dictionaries(
    {"services": st.dictionaries(st.sampled_from(["web", "db", "a_b", "A-b", "é"]), services(), max_size=3)},
    optional={
        "name": scalars,
        "volumes": values,
        "networks": values,
        "secrets": values,
        "include": values,
        "x-a": values,
    },
)


@settings(
    max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)
@given(file=files)
def test_any_compose_mapping_becomes_a_manifest_that_validates_or_one_line(
    file: dict[str, Any], tmp_path: Path
) -> None:
    source = tmp_path / "compose.yaml"
    source.write_text(yaml.safe_dump(file, allow_unicode=True, sort_keys=False))
    try:
        imported = import_source(source, None)
    except UsageError as error:
        problem = str(error)
        imported = None
    if imported is None:
        assert len(problem.splitlines()) == 1
        return
    text = write_manifest(imported)
    assert tomllib.loads(text) == imported.manifest()
    assert all(note.text and "\n" not in note.text for note in imported.notes)
    for name, service in imported.services.items():  # each on its own: two may have been given one port
        service.pop("env_file", None)  # is read here, and there is none
        depends_on = service.get("depends_on", {})
        others = {needed: {"image": "x", "health": {"command": ["true"]}} for needed in depends_on}
        manifest = tmp_path / "supervisor.toml"
        manifest.write_text(write_manifest(type(imported)("Compose", (), {name: service, **others})))
        load_manifest(manifest, dict.fromkeys("BDEFG", "1"))
