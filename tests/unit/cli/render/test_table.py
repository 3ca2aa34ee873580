"""Columns, shortened texts and ages."""

from minikube.cli.render.table import age, columns, shorten
from tests.unit.cli.render.samples import NOW


def test_columns_without_rows_are_the_head() -> None:
    assert columns(("A", "B"), []) == ["A  B"]
    assert shorten("abcdef", 4) == "abc…"
    assert age(0, NOW) == "-"
    assert age(NOW + 5, NOW) == "0ms"
