"""${VAR} in strings, and .env files."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.manifest.interpolate import (
    INSTANCE_VARIABLES,
    MAX_DEPTH,
    fill_instance_variables,
    interpolate,
    parse_env_file,
)

VARIABLES = {"A": "apple", "EMPTY": "", "PORT": "1", "_x9": "under"}


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("plain", "plain"),
        ("${A}", "apple"),
        ("<${A}${_x9}>", "<appleunder>"),
        ("${EMPTY}", ""),
        ("${NOPE}", ""),
        ("${A:-b}", "apple"),
        ("${NOPE:-b c}", "b c"),
        ("${EMPTY:-b}", "b"),
        ("${NOPE:-}", ""),
        ("${NOPE:-${A}!}", "apple!"),
        ("${NOPE:-${ALSO:-deep}}", "deep"),
        ("${NOPE:-$${A}}", "${A}"),
        ("${A:?must be}", "apple"),
        ("$$", "$"),
        ("$${A}", "${A}"),
        ("$$${A}", "$apple"),
        ("$A costs $5", "$A costs $5"),
        ("end $", "end $"),
        ("}{", "}{"),
    ],
)
def test_what_is_put_in(text: str, result: str) -> None:
    assert interpolate(text, VARIABLES) == result


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NOPE:?set it to a port}", "NOPE is not set: set it to a port"),
        ("${EMPTY:?}", "EMPTY is not set: it is required"),
        ("${A", "expected a closing brace"),
        ("${A:-${B}", "expected a closing brace"),
        ("${}", r"expected \$\{VAR\}, "),
        ("${A B}", r"expected \$\{VAR\}, "),
        ("${A-b}", r"expected \$\{VAR\}, "),
        ("${1}", r"expected \$\{VAR\}, "),
        ("${A:+b}", r"expected \$\{VAR\}, "),
        ("${X:-" * (MAX_DEPTH + 2) + "}" * (MAX_DEPTH + 2), "nested"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interpolate(text, VARIABLES)


def test_a_variable_that_is_not_set_is_a_warning() -> None:
    warned: list[str] = []
    interpolate("${A} ${NOPE} ${ALSO:-x} ${EMPTY}", VARIABLES, warn=warned.append)
    assert warned == ["NOPE"]


@pytest.mark.parametrize("name", INSTANCE_VARIABLES)
def test_what_only_an_instance_knows_waits_for_it(name: str) -> None:
    loaded = interpolate(f"--x=${{{name}}} ${{A}}", {**VARIABLES, name: "mine"}, later=True)
    assert loaded == f"--x=${{{name}}} apple"
    assert fill_instance_variables(loaded, {name: "its"}) == "--x=its apple"


@pytest.mark.parametrize(
    ("text", "filled"),
    [
        ("${PORT}", "7070"),
        ("${PORT:-8000}", "7070"),
        ("${HOST:-0.0.0.0}", "0.0.0.0"),
        ("$${PORT}", "${PORT}"),
        ("$$${PORT}", "$7070"),
        ("$$$${PORT}", "$${PORT}"),
        ("$$A ${PORT}", "$A 7070"),
        ("a $ b ${PORT}", "a $ b 7070"),
        ("$$ alone", "$ alone"),
    ],
)
def test_a_dollar_means_the_same_whether_it_is_put_in_now_or_later(text: str, filled: str) -> None:
    assert fill_instance_variables(interpolate(text, VARIABLES, later=True), {"PORT": "7070"}) == filled


@given(st.lists(st.sampled_from(["$$", "$", "${PORT}", "${A}", "a", "{", "PORT", "}", " "])).map("".join))
def test_loading_then_filling_is_interpolating_at_once(text: str) -> None:
    try:
        at_once = interpolate(text, {"A": "apple", "PORT": "7070"})
    except ValueError:
        return
    assert fill_instance_variables(interpolate(text, {"A": "apple"}, later=True), {"PORT": "7070"}) == at_once


@given(st.text())
def test_doubled_dollars_are_the_text_itself(text: str) -> None:
    assert interpolate(text.replace("$", "$$"), {}) == text


def test_a_dotenv_file() -> None:
    lines = [
        "\ufeff# comment",
        "",
        "A=1",
        "export B = two words  # why\r",
        "C='as $is \\n'",
        'D="with \\n \\"quotes\\" \\$ \\q" # x',
        "E=",
        "F=a#b",
        "G=#nothing",
        "H='two",
        "lines '",
        'I="x',
        'y\\\\"',
        "A=2",
        "",
    ]
    text = "\n".join(lines)
    assert parse_env_file(text) == {
        "A": "2",
        "B": "two words",
        "C": "as $is \\n",
        "D": 'with \n "quotes" $ \\q',
        "E": "",
        "F": "a#b",
        "G": "",
        "H": "two\nlines ",
        "I": "x\ny\\",
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("A=1\nnonsense", "line 2: expected NAME=value"),
        ("1A=2", "line 1: expected NAME=value"),
        ("A='open", "line 1: expected a closing '"),
        ('A=1\nB="open\\"\n\n', 'line 2: expected a closing "'),
        ("A='x' y", "line 1: expected nothing after the closing '"),
    ],
)
def test_a_wrong_dotenv_line_is_named_and_never_shown(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_env_file(text)
    assert "nonsense" not in str(caught.value)


@given(st.dictionaries(st.from_regex(r"\A[A-Z_]{1,8}\Z"), st.text(st.characters(exclude_characters="'\r"))))
def test_single_quotes_keep_every_value(env: dict[str, str]) -> None:
    assert parse_env_file("\n".join(f"{name}='{value}'" for name, value in env.items())) == env
