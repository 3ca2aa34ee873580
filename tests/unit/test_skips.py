"""In CI nothing is skipped: what a test needs and does not find fails there."""

from typing import cast

import pytest

from tests import conftest


def judged(outcome: str, monkeypatch: pytest.MonkeyPatch, *, in_ci: bool) -> tuple[str, object]:
    """What becomes of a report."""
    monkeypatch.setattr(conftest, "IN_CI", in_ci)
    reason = ("test_x.py", 1, "Skipped: go is not installed")
    report = pytest.TestReport("x", ("x", 0, "x"), {}, outcome, reason, "setup")  # type: ignore[arg-type]
    hook = conftest.pytest_runtest_makereport()
    next(hook)
    with pytest.raises(StopIteration) as stopped:
        hook.send(report)
    found = cast(pytest.TestReport, stopped.value.value)
    return found.outcome, found.longrepr


def test_what_is_missing_fails_in_ci_and_nowhere_else(monkeypatch: pytest.MonkeyPatch) -> None:
    failed = ("failed", "nothing may be missing in CI: Skipped: go is not installed")
    assert judged("skipped", monkeypatch, in_ci=True) == failed
    assert judged("skipped", monkeypatch, in_ci=False)[0] == "skipped"
    assert judged("passed", monkeypatch, in_ci=True)[0] == "passed"
