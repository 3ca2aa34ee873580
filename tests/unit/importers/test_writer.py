"""The text of a manifest: valid TOML for any values, readable, with a comment at each line that is not exact."""

import tomllib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minikube.importers import Imported, Notes, SourceFile, Span, write_manifest
from minikube.importers.result import Counts

SOURCES = (SourceFile("compose.yaml", frozenset(range(1, 11))),)


def at(line: int, last: int = 0, file: str = "compose.yaml") -> Span:
    return Span(file, line, last or line)


def test_a_manifest_reads_from_what_runs_to_its_tables_with_comments_at_lines() -> None:
    notes = Notes()
    notes.inexact(at(4), "services.web.restart", ("services", "web", "restart"), "unless-stopped is always")
    notes.inexact(at(6), "services.web.volumes", ("services", "web", "volumes", 1), "consistency is kept")
    notes.inexact(at(3), "services.web.hostname", ("services", "web", "hostname"), "the name is the service's")
    notes.inexact(at(2), "version", (), "is not needed")
    notes.refuse(at(7, 9), "services.web.networks", "one network only — leave it out")
    notes.refuse(at(5, file="over.yaml"), "services.web.secrets", "there are none — use env_file")
    web: dict[str, Any] = {
        "env": {"A": "1", "B": "x\ny"},
        "volumes": ["./a:/a", "./b:/b:cached"],
        "restart": "always",
        "image": "nginx:1",
        "port": 8080,
        "depends_on": {"db": "started"},
        "health": {"command": ["true"], "interval": "5s"},
    }
    imported = Imported(
        "Compose", SOURCES, {"web": web, "db": {"shell": "a\n  b 'c'\n"}}, "shop", notes=notes.in_order()
    )
    assert (
        write_manifest(imported)
        == """\
# Made by `minikube import` from compose.yaml (Compose).
#
# Taken with a difference:
# - line 2, version: is not needed
#
# Left out:
# - line 7, services.web.networks: one network only — leave it out
# - over.yaml:5, services.web.secrets: there are none — use env_file

name = "shop"

# line 3: the name is the service's
[services.web]
image = "nginx:1"
port = 8080
depends_on = { db = "started" }
volumes = [
    "./a:/a",
    # line 6: consistency is kept
    "./b:/b:cached",
]
# line 4: unless-stopped is always
restart = "always"

[services.web.env]
A = "1"
B = '''
x
y'''

[services.web.health]
command = ["true"]
interval = "5s"

[services.db]
shell = '''
a
  b 'c'
'''
"""
    )


def test_lines_are_counted_once_and_a_line_of_both_kinds_is_a_refused_one() -> None:
    notes = Notes()
    notes.inexact(at(1), "a", (), "x")
    notes.inexact(at(1), "a", (), "y")
    notes.inexact(at(2), "b", (), "y")
    notes.refuse(at(2), "b", "z")
    notes.refuse(at(9, 12), "c", "z")  # 11 and 12 say nothing
    assert Imported("Compose", SOURCES, {}, notes=notes.in_order()).count_lines() == Counts(6, 1, 3)


names = st.text(max_size=8)
scalars = st.text() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.floats(allow_nan=False)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(names, inner, max_size=4), max_leaves=12
)


@settings(max_examples=60, deadline=None)
@given(services=st.dictionaries(names, st.dictionaries(names, values, max_size=5), max_size=3), data=st.data())
def test_any_values_and_notes_make_toml_that_means_them(services: dict[str, Any], data: st.DataObject) -> None:
    notes = Notes()
    for name, service in services.items():
        for key, value in service.items():
            below = [*value] if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else []
            path = ("services", name, key, *data.draw(st.lists(st.sampled_from([*below, "other"]), max_size=2)))
            notes.inexact(at(1), key, path, data.draw(st.text(max_size=20)))
    text = write_manifest(Imported("Compose", SOURCES, services, "shop", {"A": "x"}, notes=notes.in_order()))
    assert tomllib.loads(text) == {"name": "shop", "env": {"A": "x"}, "services": services}


@pytest.mark.parametrize(
    "text", ["'''", "a\n'''b", "it's\n'", '"""\n\\', "a\n\x00\x7f\u2028b", "\n", "\n\n", "x\n\ty\t"]
)
def test_a_string_of_several_lines_means_what_it_was(text: str) -> None:
    written = write_manifest(Imported("Compose", SOURCES, {"a": {"shell": text}}))
    assert tomllib.loads(written)["services"]["a"]["shell"] == text
