""".env files: assignments, names alone, and lines that are neither."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.manifest.variables.env_file import parse_env_file


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
        ("A='nonsense", "line 1: expected a closing '"),
        ('A=1\nB="nonsense\\"\n\n', 'line 2: expected a closing "'),
        ("A='x' nonsense", "line 1: expected nothing after the closing '"),
    ],
)
def test_a_wrong_dotenv_line_is_named_and_never_shown(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        parse_env_file(text)
    assert "nonsense" not in str(caught.value)


@given(st.dictionaries(st.from_regex(r"\A[A-Z_]{1,8}\Z"), st.text(st.characters(exclude_characters="'\r"))))
def test_single_quotes_keep_every_value(env: dict[str, str]) -> None:
    assert parse_env_file("\n".join(f"{name}='{value}'" for name, value in env.items())) == env


def test_a_name_alone_takes_the_variable_of_the_environment() -> None:
    text = "A\nexport B # comment\nNOPE\nC=1\n"
    assert parse_env_file(text, {"A": "1", "B": "two words", "C": "2"}) == {"A": "1", "B": "two words", "C": "1"}
    assert parse_env_file(text) == {"C": "1"}


@pytest.mark.parametrize(
    "line",
    [
        "if [ -f x ]; then",
        "fi",
        "source ./other.env",
        ". ./other.env",
        "[ -z $A ] && A=1",
        "1A=2",
        "echo hi",
        "unset A B",
        "???",
        "A += 1",
        "}",
    ],
)
def test_a_line_for_a_shell_is_ignored_and_its_number_told(line: str) -> None:
    ignored: list[int] = []
    assert parse_env_file(f"A=1\n{line}\r\n  export B=2", {"if": "x", "fi": "x"}, ignored.append) == {
        "A": "1",
        "B": "2",
    }
    assert ignored == [2]
