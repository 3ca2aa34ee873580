"""The lines of keys: problems name the line of the file where it is known."""

import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from minikube.errors import ManifestError
from minikube.manifest import load_manifest
from minikube.manifest.locate import find_line, key_lines

TEXT = '''# [services.no]
name = "x"   # a = 1

[services.web]   # [services.no]
command = """
[services.fake]
port = 1\\"""
"""
port=1
health = [ "/",
 "]5s" ]
list = [
  "a]",  # ]
  'b', '[',
  { port = 2 },
]
"a b".c = 1
script = \'\'\'
x = "
\'\'\'
  last = 'it"s'
[services."a.b".stop]
signal = "x"
[[more]]
z = 1
'''


@pytest.mark.parametrize(
    ("path", "line"),
    [
        ("name", 2),
        ("services.web", 4),
        ("services.web.command", 5),
        ("services.web.port", 9),
        ("services.web.health", 10),
        ("services.web.health[1]", 10),
        ("services.web.list[2]", 12),
        ("services.web.list[2].port", 12),
        ('services.web."a b".c', 17),
        ("services.web.script", 18),
        ("services.web.last", 21),
        ("services.web.missing", 4),
        ('services."a.b".stop.signal', 23),
        ('services."a.b"', 22),
        ("more.z", 25),
        ("services.fake", 4),
        ("other", 0),
        ("", 0),
    ],
)
def test_the_line_of_a_key_or_of_what_holds_it(path: str, line: int) -> None:
    tomllib.loads(TEXT)
    assert find_line(key_lines(TEXT), path) == line


KEYS = st.text(st.sampled_from("ab.-\" ='#[]\\\n"), max_size=5)
VALUES: Any = st.recursive(
    st.text(st.sampled_from("a\"'\\\n[]{}#=. ")) | st.integers(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner, max_size=3),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a loaded machine makes a draw slow
@given(st.dictionaries(st.sampled_from(["k1", "k2", "k3"]), VALUES), st.booleans())
def test_every_key_of_any_file_has_its_line(tree: dict[str, Any], multiline: bool) -> None:
    text = tomli_w.dumps({"head": 1, **tree}, multiline_strings=multiline)
    lines, written = key_lines(text), text.split("\n")
    for key in tree:
        line = lines.get(key) or find_line(lines, key)
        assert key in written[line - 1]


@given(st.text(st.sampled_from("ab.\"'\\\n[]{}#= ")), st.text(st.sampled_from('ab.[]"0')))
def test_no_text_and_no_path_is_too_odd(text: str, path: str) -> None:
    assert 0 <= find_line(key_lines(text), path) <= text.count("\n") + 1


def test_all_problems_of_a_manifest_and_of_dotenv_are_told_at_once_with_their_lines(tmp_path: Path) -> None:
    path = tmp_path / "supervisor.toml"
    path.write_text('[services.a_b]\ncommand = "x"\nport = 0\n[registry]\nallow_checks = ["h:1"]\n[redis]\nurl = "x"\n')
    (tmp_path / ".env").write_text("A=1\nB='\n")
    with pytest.raises(ManifestError) as caught:
        load_manifest(path, {})
    assert [line.partition(" ")[0] for line in str(caught.value).splitlines()] == [
        f"{tmp_path / '.env'}:2:",
        f"{path}:1:",
        f"{path}:3:",
        f"{path}:5:",
        f"{path}:7:",
    ]


@pytest.mark.parametrize(("name", "form"), [("s.yaml", "YAML"), ("compose.yml", "YAML"), ("pm2.json", "JSON")])
@pytest.mark.parametrize("text", ["services:\n  web:\n    image: x\n", "", "{}"])
def test_a_file_of_another_format_is_told_so(tmp_path: Path, name: str, form: str, text: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError) as caught:
        load_manifest(tmp_path / name, {})
    file = tmp_path / name
    assert str(caught.value) == f"{file}: a manifest is TOML, not {form} — `minikube import {file}` writes one from it"
