"""${VAR} in strings: what is replaced, when, and what stays as it is written."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minikube.manifest.variables.interpolate import (
    INSTANCE_VARIABLES,
    MAX_DEPTH,
    escape_dollars,
    fill_instance_variables,
    interpolate,
    template_text,
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
        ("${EMPTY-b}", ""),
        ("${NOPE-b ${A}}", "b apple"),
        ("${A-b}", "apple"),
        # Everything else stays as it is written.
        ("${A", "${A"),
        ("${A:-${_x9}", "${A:-under"),
        ("${}", "${}"),
        ("${A B}", "${A B}"),
        ("${1}", "${1}"),
        ("${A:+b}", "${A:+b}"),
        ("${A%.*} ${#A} ${A/x/${B}} ${A}", "${A%.*} ${#A} ${A/x/${B}} apple"),
        ("$(date) `id` $? $1 $A", "$(date) `id` $? $1 $A"),
        ("$$$$", "$$"),
        ("$$(date) ${A}", "$(date) apple"),
    ],
)
def test_what_is_put_in(text: str, result: str) -> None:
    assert interpolate(text, VARIABLES) == result


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("${NOPE:?set it to a port}", "NOPE is not set: set it to a port"),
        ("${EMPTY:?}", "EMPTY is not set: it is required"),
        ("${X:-" * (MAX_DEPTH + 2) + "}" * (MAX_DEPTH + 2), "nested"),
    ],
)
def test_what_is_refused(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        interpolate(text, VARIABLES)


def test_a_variable_that_is_not_set_is_a_warning() -> None:
    noted: list[tuple[str, str]] = []
    interpolate("${A} ${NOPE} ${ALSO:-x} ${EMPTY}", VARIABLES, note=lambda name, kind: noted.append((name, kind)))
    assert noted == [("A", "value"), ("NOPE", "unset"), ("ALSO", "default"), ("EMPTY", "value")]


@pytest.mark.parametrize("name", INSTANCE_VARIABLES)
def test_what_only_an_instance_knows_waits_for_it(name: str) -> None:
    loaded = interpolate(f"--x=${{{name}}} ${{A}}", {**VARIABLES, name: "mine"}, later=True)
    assert loaded == f"--x=${{{name}}} apple"
    assert fill_instance_variables(loaded, {name: "its"}) == "--x=its apple"
    assert template_text(loaded) == loaded


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
        ("echo $HOME; exec x ${PORT}", "echo $HOME; exec x 7070"),
        ("$HOME", "$HOME"),
        ("${A:+x} $(id) ${PORT}", "${A:+x} $(id) 7070"),
        ("${HOST:-${A} $$5}", "apple $5"),
        ("${HOST-}", ""),
        ("$${HOST} ${PORT} $$$$", "${HOST} 7070 $$"),
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


@given(st.text(), st.text("$${}PORT:-A "))
def test_a_template_of_doubled_dollars_is_the_text_itself(text: str, dollars: str) -> None:
    for one in (text, dollars):
        template = interpolate(escape_dollars(one), {}, later=True)
        assert fill_instance_variables(template, {"PORT": "1"}) == template_text(template) == one


def test_a_value_with_dollars_is_no_reference() -> None:
    variables = {"PASSWORD": "a$$b${PORT}$c"}
    template = interpolate("${PASSWORD} ${PORT}", variables, later=True)
    assert fill_instance_variables(template, {"PORT": "7070"}) == "a$$b${PORT}$c 7070"


@pytest.mark.parametrize(
    ("text", "result"),
    [
        ("${A} ${NOPE}", "apple ${NOPE}"),
        ("${NOPE:-x} ${NOPE-x} ${NOPE:?no}", "${NOPE:-x} ${NOPE-x} ${NOPE:?no}"),
        ("${EMPTY:-x}", "x"),
        ("x=1; echo ${x} $x ${PORT}", "x=1; echo ${x} $x 7070"),
    ],
)
def test_a_shell_looks_up_what_is_not_set(text: str, result: str) -> None:
    kinds: set[str] = set()
    template = interpolate(text, VARIABLES, later=True, keep_unset=True, note=lambda _, kind: kinds.add(kind))
    assert fill_instance_variables(template, {"PORT": "7070"}) == result
    assert "unset" not in kinds


def test_what_an_instance_requires_and_does_not_have_is_an_error_at_its_start() -> None:
    template = interpolate("${PORT:?set port} ", {}, later=True)
    with pytest.raises(ValueError, match="PORT is not set: set port"):
        fill_instance_variables(template, {})


@given(st.text())
def test_doubled_dollars_are_the_text_itself(text: str) -> None:
    assert interpolate(text.replace("$", "$$"), {}) == text


@pytest.mark.timeout(10)
def test_a_text_of_many_open_references_is_read_at_once() -> None:
    text = "${" * 20_000
    assert interpolate(text, {}) == text
