"""The benchmarks run: every part once, with tiny counts and without what would have to be installed. No figure is judged."""

import re
import subprocess
import sys

import pytest

from tests.benchmarks.__main__ import parts
from tests.benchmarks.tools import ROOT
from tests.untraced import untraced


@pytest.mark.timeout(300)
@pytest.mark.parametrize("part", parts(quick=True, alone=True))
def test_every_part_ends_with_its_table(part: str) -> None:
    argv = [sys.executable, "-m", "tests.benchmarks", part, "--quick", "--alone"]
    done = subprocess.run(argv, cwd=ROOT, env=untraced(), stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{part} done" in done.stdout
    rows = [line for line in done.stdout.splitlines() if line.startswith("| ")]
    assert len(rows) > 1
    assert all(re.search(r"\d", row) for row in rows[1:])
