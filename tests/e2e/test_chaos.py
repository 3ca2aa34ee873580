"""A short chaos run with a fixed seed: every promise of the contract under faults."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.chaos import engine, namespaces
from tests.paths import ROOT
from tests.untraced import untraced

SEED = 70
MINUTES = 1.5
PATIENCE = 4.0
"""Times are measured elsewhere; other tests run at the same time."""


@pytest.mark.timeout(600)
def test_no_promise_is_broken_while_everything_is_killed_stopped_and_damaged(tmp_path: Path, as_root: None) -> None:
    if problem := namespaces.available():
        pytest.skip(problem)
    log = tmp_path / "chaos.jsonl"
    command = [sys.executable, "-m", "tests.chaos", "--seed", str(SEED), "--minutes", str(MINUTES)]
    done = subprocess.run(
        [*command, "--patience", str(PATIENCE), "--log", str(log)],
        cwd=ROOT,
        env=untraced(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
    )
    steps = [line for line in log.read_text().splitlines() if '"record": "step"' in line or '"record": "done"' in line]
    assert done.returncode == 0, "\n".join([done.stdout, done.stderr, *steps])
    result = json.loads(done.stdout.splitlines()[-1])
    assert result["acknowledged"] > 10
    assert result["lookups"] > 100
    assert sum(result["operations"].values()) >= 10
    # Where an engine is installed, as it is where CI runs, services in containers have taken part.
    assert bool(result["engine"]) is not bool(engine.missing())
