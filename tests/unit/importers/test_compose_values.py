"""Strings of Compose in the manifest's forms: variables, durations, sizes, ports."""

import pytest

from minikube.durations import parse_duration
from minikube.importers import Span
from minikube.importers.compose.ports import parse_port
from minikube.importers.compose.values import duration, size
from minikube.importers.compose.variables import rewrite, split_outside


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain", "plain"),
        ("$A", "${A}"),
        ("$A_b1-$B", "${A_b1}-${B}"),
        ("${A}", "${A}"),
        ("${A:-x}", "${A:-x}"),
        ("${A-}", "${A-}"),
        ("${A:-$B}", "${A:-${B}}"),
        ("${A:-${B:-{}}}", "${A:-${B:-{}}}"),
        ("${A:?no $B}", "${A:?no $B}"),
        ("${A?no}", "${A:?no}"),
        ("$$A $${B}", "$$A $${B}"),
        ("$", "$"),
        ("$1 $( ${", "$1 $( ${"),
        ("${A", "${A"),
        ("${A.b}", "${A.b}"),
    ],
)
def test_a_variable_has_the_manifests_form(text: str, written: str) -> None:
    assert rewrite(text, later=True).text == written


@pytest.mark.parametrize("text", ["${A:+x}", "${A+x}", "${A:-${B:+x}}"])
def test_a_form_that_a_manifest_does_not_have_is_a_problem(text: str) -> None:
    assert "has no counterpart" in rewrite(text, later=True).problem


def test_a_variable_that_an_instance_is_given_is_replaced_by_its_default() -> None:
    found = rewrite("redis://${REDIS_URL:-${PORT:-1}}/$HOST", later=True)
    assert found.text == "redis://1/${HOST}"
    assert len(found.notes) == 3
    assert rewrite("${PORT:-1}", later=False).text == "${PORT:-1}"
    assert rewrite("${PORT:-1}", later=False, own=["PORT"]).text == "1"


def test_many_nested_variables_are_one_problem() -> None:
    assert rewrite("${A:-" * 100 + "}" * 100, later=True).problem == "more than 20 nested variables"


def test_a_text_is_split_outside_variables_and_brackets() -> None:
    assert split_outside("${A:-b}:[::1]:c", ":") == ["${A:-b}", "[::1]", "c"]


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30), ("1m30s", 90), ("1h5m30s20ms", 3930.02), ("2.5s", 2.5), ("100us", 0.0001), ("1s500us", 1.0005)],
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(duration(text)) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "30", "s", "1x", "1s ", "-1s", "1d"])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        duration(text)


@pytest.mark.parametrize(
    ("text", "written"),
    [("512m", "512M"), ("1gb", "1G"), ("64kB", "64K"), ("1024", "1024"), ("10b", "10"), ("1.5g", "1.5G")],
)
def test_sizes(text: str, written: str) -> None:
    assert size(text) == written


@pytest.mark.parametrize("text", ["", "m", "1x", "-1", "1 0"])
def test_what_is_no_size(text: str) -> None:
    with pytest.raises(ValueError, match="expected"):
        size(text)


@pytest.mark.parametrize(
    ("text", "target", "published", "host", "protocol"),
    [
        ("80", "80", "", "", "tcp"),
        ("8080:80", "80", "8080", "", "tcp"),
        ("0:80", "80", "", "", "tcp"),
        ("127.0.0.1::80", "80", "", "127.0.0.1", "tcp"),
        ("[::1]:8080:80/udp", "80", "8080", "::1", "udp"),
        ("::1:8080:80", "80", "8080", "::1", "tcp"),
        ("${A:-1}:${B}/udp", "${B}", "${A:-1}", "", "udp"),
        ("8000-8010:80", "80", "8000-8010", "", "tcp"),
    ],
)
def test_short_forms_of_ports(text: str, target: str, published: str, host: str, protocol: str) -> None:
    found = parse_port(text, Span("", 1, 1))
    assert found is not None
    assert (found.target, found.published, found.host, found.protocol) == (target, published, host, protocol)


@pytest.mark.parametrize("text", ["", "a", "80:", "80/sctp", "70000:80", "9-8:9-8", "1:2:3:4:x", "8080:0", "a b:80:80"])
def test_what_is_no_port(text: str) -> None:
    assert parse_port(text, Span("", 1, 1)) is None
